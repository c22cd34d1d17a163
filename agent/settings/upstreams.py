"""Apps and their upstreams, as ``[[apps]]`` and ``[[apps.upstreams]]`` of the settings file say.

How they are read and what is refused: :mod:`agent.settings.apps_reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from agent.rules.ways import HOSTS, Kind, Language, Way, only_way, ways_of

NUCLEUS = HOSTS["nucleus"]  #: Where the Nucleus upstream goes if no endpoint is named.


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where an app's events go.

    Attributes:
        kind: ``nucleus``: the Nucleus tracking API; ``homing``: a collector of one's own, which
            has both; ``bucket``: the Bucket tracking API, its key in the path; ``bucket-bulk``:
            its successor, the key in a header.
        name: Unique within the app; the kind if a person gave none.
        endpoint: Base of the address, without the app's id and without the key.
        data_api: Origin of its Data API for live users and the quick glance, empty for none.
        token_file: File with the token for the Data API; empty: the keyring has it.
        key_file: File with the Bucket key; empty: the keyring has it.
        leave_out: Words that are not sent there, because a person agreed to it.

    """

    kind: Kind
    name: str = ""
    endpoint: str = NUCLEUS
    data_api: str = ""
    token_file: str = ""
    key_file: str = ""
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.kind)

    @property
    def ways(self) -> tuple[Way, ...]:
        """Return the streams that it is (:mod:`agent.rules.ways`)."""
        return ways_of(
            name=self.name,
            kind=self.kind,
            endpoint=self.endpoint,
            key_file=self.key_file,
            leave_out=self.leave_out,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A local program that may report, because the settings file says so.

    Attributes:
        id: Its appId at the far end.
        name: What people call it.
        version: Its version, told in the ``init`` that the agent writes for it.
        speaks: The languages that it may report in.
        upstreams: Where its events go; all of them get everything. The window shows the first
            one's Data API.
        events_per_s: What it may report for ever; 0: what every app may.
        burst: What it may report at once after a pause; 0: what every app may.
        share: Percent of the outbox that it may fill before it has to wait.

    """

    id: str
    name: str
    version: str = ""
    speaks: tuple[Language, ...] = ("nucleus",)
    upstreams: tuple[Upstream, ...] = ()
    events_per_s: int = 0
    burst: int = 0
    share: int = 100

    @property
    def ways(self) -> tuple[Way, ...]:
        """Return all its ways out, the first upstream's first; one without an end if it has none.

        A collector's second way is there only if the app speaks the language that it is for.
        """
        if not self.upstreams:
            return (only_way(),)
        return tuple(
            way
            for upstream in self.upstreams
            for way in upstream.ways
            if "elsewhere" not in (way.events, way.calls) or way.language in self.speaks
        )


APP_DOCS: Mapping[str, str] = MappingProxyType(
    {
        "id": "The app's id at the far end: letters, digits, - and _, at most 64.",
        "name": "What people call the app.",
        "version": "The app's version, told in the init events that the agent writes for it.",
        "speaks": 'The languages that the app may report in, a list of "nucleus" and "bucket";'
        " Nucleus when left out, and Bucket if an upstream knows it.",
        "events_per_s": "Events per second that this app may report for ever; limits.events_per_s"
        " when left out.",
        "burst": "Events that it may report at once after a pause; limits.burst when left out.",
        "share": "Percent of the outbox that it may fill; then it has to keep its events until some"
        " are delivered. 100 when left out.",
    }
)

UPSTREAM_DOCS: Mapping[str, str] = MappingProxyType(
    {
        "kind": 'What the far end is: "nucleus", "homing" (a collector of your own), "bucket" or'
        ' "bucket-bulk".',
        "name": "What to call it in commands, unique within the app: letters, digits, - and _, at"
        " most 32; the kind when left out.",
        "endpoint": "The far end's address without the app's id or key; the vendor's own when left"
        " out, needed for a collector.",
        "data_api": "The far end's Data API, for live users and the quick glance.",
        "token_file": "File with the token for the Data API, if it is not in the keyring.",
        "key_file": "File (mode 0600) with the Bucket key, if it is not in the keyring.",
        "leave_out": "Words that are not sent there: what its language cannot say, by agreement.",
    }
)
