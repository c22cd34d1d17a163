"""Looking a name up for a walk along the hops, which has no thread of its own to be woken."""

from __future__ import annotations

import contextlib
import socket
import time

from agent.adapters.roads.connecting import Place, look_up
from agent.adapters.roads.names import beside
from agent.adapters.roads.patience import Patience

LOOK_UP_S = 6.0


def look_up_aside(host: str, port: int, patience: Patience) -> list[Place]:
    """Ask the resolver on a thread that may be left behind, because it cannot be interrupted."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def wake() -> None:
        with contextlib.suppress(OSError):
            theirs.send(b"!")
        theirs.close()

    with contextlib.closing(ours):
        mine = Patience(min(LOOK_UP_S, patience.until - time.monotonic()), ours)
        mine.doing = f"looking up {host}"
        return beside(look_up, wake, "walk")(host, port, mine)
