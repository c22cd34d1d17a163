"""The Data APIs of an app's far ends: where they are, and with which token they may be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from agent.adapters.links.data_api import DataApi, Exchange
from agent.door.your_data import FarEnd
from agent.runtime.off_loop import off_loop
from tracking.errors import SecretFault

if TYPE_CHECKING:
    from agent.runtime.core import Core

ASK_S = 60.0  #: A deletion, or a sum over a month, takes its time.
NO_DELETION = "Bucket's tracking API knows no deletion; ask whoever runs it"
NO_API = "no data_api is named for it in the settings"
NO_TOKEN = "nobody gave us a token for its Data API"  # noqa: S105 - a sentence


class Place(NamedTuple):
    """One far end of one app.

    Attributes:
        stream: The outbox's number of its Nucleus queue, None if it has none.
        here: It is the far end on this computer.

    """

    app_id: str
    told: FarEnd
    token_file: str = ""
    stream: int | None = None
    here: bool = False


class FarEnds:
    """Finds them.

    Args:
        core: Knows ways out, settings, secrets.

    """

    def __init__(self, core: Core) -> None:
        self.core = core

    def of(self, app_id: str) -> list[Place]:
        """Return the far ends of an app, each once, in the order of the settings."""
        return list(self._of(app_id))

    def _of(self, app_id: str) -> Iterator[Place]:
        core = self.core
        streams = {
            way.way.upstream: way.stream
            for way in core.departures.of(app_id)
            if way.way.language == "nucleus"
        }
        declared = core.settings.app(app_id)
        for upstream in declared.upstreams if declared is not None else ():
            origin, why_not = upstream.data_api, ""
            if upstream.kind == "homing" and not origin:
                origin = origin_of(upstream.endpoint)
            if upstream.kind in ("bucket", "bucket-bulk"):
                origin, why_not = "", NO_DELETION
            elif not origin:
                why_not = NO_API
            told = FarEnd(
                upstream=upstream.name, kind=upstream.kind, origin=origin, why_not=why_not
            )
            yield Place(app_id, told, upstream.token_file, streams.get(upstream.name))
        if (declared is None or not declared.upstreams) and (at := core.housing.endpoint):
            told = FarEnd(upstream="", kind="homing", origin=origin_of(at))
            yield Place(app_id, told, "", streams.get(""), here=True)

    async def api(self, place: Place) -> DataApi:
        """Return the Data API of a far end, with its token; may wait for a keyring.

        Raises:
            SecretFault: There is no token, or the keyring is locked.
            SettingsFault: The origin is none.

        """
        core, app_id = self.core, place.app_id
        if place.here:
            keeper = core.housing.keeper
            if keeper is None:
                raise SecretFault("the far end on this computer does not run")
            text = await off_loop(partial(keeper.token_for, app_id), name="far end's token")
        else:
            file = Path(place.token_file) if place.token_file else None
            find = partial(core.secrets.token, place.told.origin, app_id, file=file)
            token = await off_loop(find, name="token")
            if token is None:
                raise SecretFault(NO_TOKEN, advice="Name a file with token_file.")
            text = token.text
        ca_file = core.settings.link.ca_file
        return DataApi(
            place.told.origin,
            app_id,
            text,
            ca_file=Path(ca_file) if ca_file else None,
            deadline_s=ASK_S,
            atlas=core.network.atlas,
            record=self.recorder(app_id, place.told.upstream, text),
        )

    def recorder(self, app_id: str, upstream: str, token: str) -> Callable[[Exchange], None]:
        """Return who notes the questions to one Data API in the record of the wire.

        Args:
            app_id: Whose numbers are asked for.
            upstream: The far end's name.
            token: Shown nowhere, not even where the far end repeats it.

        """
        self.core.wire.masks.add(token)
        wire, wall_ms, asked = self.core.wire, self.core.means.wall_ms, [0]

        def record(said: Exchange) -> None:
            noted = wire.add(
                wall_ms(),
                app_id,
                said.direction,
                said.body,
                upstream=upstream,
                kind="data-api",
                head=said.head,
                peer=said.peer,
                size=said.size,
            )
            if said.direction == "sent":
                asked[0] = noted
            elif said.head[:1].isdigit():  # the answer itself, not a proxy's on the way
                verdict = "acknowledged" if said.head[:1] == "2" else f"refused: {said.head}"
                wire.judge(asked[0], wall_ms(), app_id, verdict, upstream=upstream)

        return record


def origin_of(endpoint: str) -> str:
    """Return the origin of the Data API of a collector, which has one address for everything."""
    parts = urlsplit(endpoint)
    return f"{'https' if parts.scheme in ('wss', 'https') else 'http'}://{parts.netloc}"
