"""What the far end itself says: quick glance and who is live, while somebody is looking.

Asked through the Data API v1, from a worker thread, one question at a time, and only while a
window or a terminal watches: an agent that nobody looks at asks nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from agent.adapters.links.data_api import DataApi
from agent.door import Glance, LiveUser
from agent.runtime.off_loop import off_loop
from tracking.errors import Fault

log = logging.getLogger("agent.farsight")

LIVE_EVERY_S = 3.0
GLANCE_EVERY_S = 15.0
AFTER_FAULT_S = 15.0


@dataclass(slots=True)
class Sight:
    """What was seen last; None where the far end does not tell."""

    glance: Glance | None = None
    live_count: int | None = None
    live_users: tuple[LiveUser, ...] = ()


class Farsight:
    """Looks while it is wanted.

    Args:
        seen: Hears of every new sight, on the loop.
        wall_ms: Unix milliseconds.
        run: Runs something beside the loop's work.

    """

    def __init__(
        self,
        seen: Callable[[Sight], None],
        wall_ms: Callable[[], int],
        run: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self.seen = seen
        self.wall_ms = wall_ms
        self.run = run
        self.api: DataApi | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def aim(self, api: DataApi | None) -> None:
        """Look there from now on; None: nowhere."""
        self.api = api

    def want(self, wanted: bool) -> None:
        """Begin or end looking."""
        if wanted and self._task is None and not self._closed:
            self._task = self.run(self._look())
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._task = None

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self.want(wanted=False)

    async def _look(self) -> None:
        sight, glance_at = Sight(), 0.0
        loop = asyncio.get_running_loop()
        while True:
            api, wait_s = self.api, LIVE_EVERY_S
            if api is not None:
                try:
                    if loop.time() >= glance_at:
                        sight.glance = await off_loop(partial(self._glance, api), name="glance")
                        glance_at = loop.time() + GLANCE_EVERY_S
                    sight.live_users = await off_loop(partial(_live_users, api), name="live users")
                    sight.live_count = len(sight.live_users)
                except Fault as fault:
                    log.debug("the far end did not tell code=%s", fault.code)
                    sight, wait_s = Sight(), AFTER_FAULT_S
                self.seen(sight)
            await asyncio.sleep(wait_s)

    def _glance(self, api: DataApi) -> Glance:
        said = api.quickglance()
        return Glance(
            source="collector",
            at_ms=self.wall_ms(),
            app_starts=said.app_starts,
            previous_app_starts=said.previous_app_starts,
            errors=said.errors,
            previous_errors=said.previous_errors,
            users=said.users,
            previous_users=said.previous_users,
            installs=said.installs,
            previous_installs=said.previous_installs,
        )


def _live_users(api: DataApi) -> tuple[LiveUser, ...]:
    return tuple(
        LiveUser(
            device_id=user.device_id,
            user_id=user.user_id,
            platform=user.platform,
            os_version=user.os_version,
            country=user.country,
            last_seen_ms=user.last_seen_ms,
        )
        for user in api.live_users()
    )
