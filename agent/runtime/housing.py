"""The far end on this computer, as the core sees it: offered, started, moved into.

Apps that nobody gave a far end, and the one app of this computer's own, go there. Its desk is set
up as soon as a person says yes, so what is reported while the collector still starts is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from agent.adapters.links.data_api import DataApi, Exchange
from agent.adapters.machine.places import Places
from agent.adapters.machine.secrets import Secrets
from agent.adapters.roads.atlas import Atlas
from agent.runtime.farsight import Farsight
from agent.runtime.keeper import APP_ID, APP_NAME, Keeper, KeeperNews, read_kept
from agent.runtime.off_loop import off_loop
from agent.runtime.report import Board
from agent.settings import Settings
from tracking.errors import Fault, RequestFault

HERE = "the far end on this computer"  #: Where apps go that have no other, as a person reads it.


class Housing:
    """Offers, starts and supervises the embedded far end; aims the view at the one there is.

    Args:
        settings: Whether a person wants it, and which apps have no other far end.
        places: Where it lives.
        board: Shows its state.
        farsight: Looks at what it tells.
        secrets: Tokens of far ends elsewhere.
        atlas: Hosts, proxies and logins of this agent.
        recorder: Returns who notes what a Data API is asked: app, upstream, token.
        seat: Gives an app its desk: id, name.
        depart: Opens an app's way out: id, endpoint.
        guests: Returns apps that a person allowed and no file declares, without a far end.
        forbidden: Why nothing may be kept here whatever a person says; empty if it may.
        note: Shows a notice: code, text, severity.
        on_death: The keeper's thread died of a bug.
        run: Runs an errand beside the loop's work.

    """

    def __init__(
        self,
        settings: Settings,
        places: Places,
        board: Board,
        farsight: Farsight,
        secrets: Secrets,
        *,
        atlas: Atlas,
        recorder: Callable[[str, str, str], Callable[[Exchange], None]],
        seat: Callable[[str, str], None],
        depart: Callable[[str, str], None],
        guests: Callable[[], list[tuple[str, str]]],
        forbidden: str,
        note: Callable[[str, str, str], None],
        on_death: Callable[[BaseException], None],
        run: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.run = run
        self.on_death = on_death
        self.settings = settings
        self.places = places
        self.board = board
        self.farsight = farsight
        self.secrets = secrets
        self.atlas = atlas
        self.recorder = recorder
        self.seat = seat
        self.depart = depart
        self.guests = guests
        self.forbidden = forbidden
        self.note = note
        self.keeper: Keeper | None = None
        self._loop = asyncio.get_running_loop()
        self._endpoint = ""
        self._closed = False

    @property
    def _record(self) -> Path:
        return self.places.state / "far-end.json"

    def _unhoused(self) -> list[tuple[str, str]]:
        """Return the apps, id and name, that nobody gave a far end."""
        declared = [(app.id, app.name) for app in self.settings.apps if not app.upstreams]
        return [*declared, *self.guests()]

    def open(self) -> None:
        """Go on with a far end that a person wanted before, or offer one."""
        answer = self.settings.far_end.keep_here
        wanted_before = read_kept(self._record) is not None
        if wanted_before and answer != "no":
            self._keep()  # also where nothing new may come in: what it holds can be looked at
        elif self.forbidden:
            return
        elif answer == "yes":
            self._keep()
        elif answer == "ask" and (not self.settings.apps or self._unhoused()):
            self.board.keeping = "offered"

    def keep_here(self) -> None:
        """Start the embedded collector, from now on with every start of the agent.

        Raises:
            RequestFault: No app may report, so there would be nothing to keep.

        """
        if self.forbidden and self.keeper is None:
            raise RequestFault(f"there is nothing to keep here: {self.forbidden}", status=403)
        self._keep()

    @property
    def endpoint(self) -> str:
        """Where the far end on this computer listens, empty as long as it does not."""
        return self._endpoint

    def far_ends(self) -> tuple[str, ...]:
        """Return where apps without a far end of their own go; empty if nowhere."""
        return (HERE,) if self.keeper is not None else ()

    def welcome(self, app_id: str, name: str) -> None:
        """Take an app in that was allowed a moment ago; without a far end here it waits."""
        if self.keeper is None:
            if self.settings.far_end.keep_here == "ask" and not self.forbidden:
                self.board.keeping = "offered"
            return
        self.run(self._take_in(self.keeper, app_id, name))

    async def _take_in(self, keeper: Keeper, app_id: str, name: str) -> None:
        try:
            await off_loop(partial(keeper.take_in, app_id, name), name="far end's guest")
        except (Fault, OSError, subprocess.SubprocessError) as exc:
            self.note(
                "keeping.guest", f"{app_id} has no place in the far end here: {exc}", "warning"
            )
            return
        self.board.unnote("keeping.guest")
        if self._endpoint and not self._closed:
            self.depart(app_id, self._endpoint)

    def _keep(self) -> None:
        if self.keeper is not None:
            return
        self.board.keeping = "starting"
        self.board.strangers_go_to = self.board.strangers_go_to or HERE
        self.seat(APP_ID, APP_NAME)

        def post(news: KeeperNews) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._heard, news)

        self.keeper = Keeper(
            self.places.data / "collector",
            self._record,
            self._unhoused(),
            post,
            died=self.on_death,
            log_file=self.places.logs / "collector.log",
            port=self.settings.far_end.port,
        )
        self.keeper.start()

    def close(self) -> None:
        """Stop the collector; may take some seconds, so call it off the loop."""
        self._closed = True
        if self.keeper is not None:
            self.keeper.stop()

    def _heard(self, news: KeeperNews) -> None:
        if self._closed:
            return
        self.board.keeping = news.state
        if news.state == "failed":
            self.note("keeping.failed", news.reason, "warning")
        if news.kept is not None:
            self.board.unnote("keeping.failed")
            endpoint = f"ws://127.0.0.1:{news.port}"
            self._endpoint = endpoint
            for app_id in [news.kept.app_id, *(app_id for app_id, _ in self._unhoused())]:
                self.depart(app_id, endpoint)
            origin = f"http://127.0.0.1:{news.port}"
            app_id, token = news.kept.app_id, news.kept.token
            self.farsight.aim(
                DataApi(
                    origin, app_id, token, atlas=self.atlas, record=self.recorder(app_id, "", token)
                )
            )

    async def aim(self) -> None:
        """Look at the first far end that has a Data API and a token for it."""
        for app in self.settings.apps:
            upstream = app.upstreams[0] if app.upstreams else None
            if upstream is None or not upstream.data_api:
                continue
            file = Path(upstream.token_file) if upstream.token_file else None
            try:
                find = partial(self.secrets.token, upstream.data_api, app.id, file=file)
                token = await off_loop(find, name="token")
            except Fault as fault:
                self.note(f"data_api.{app.id}", str(fault), "warning")
                continue
            if token is not None:
                record = self.recorder(app.id, upstream.name, token.text)
                api = DataApi(
                    upstream.data_api, app.id, token.text, atlas=self.atlas, record=record
                )
                self.farsight.aim(api)
                return
