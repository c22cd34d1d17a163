"""Looking a name up beside whoever waits for it: the resolver cannot be interrupted."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from agent.adapters.roads.connecting import Place, look_up
from agent.adapters.roads.patience import Patience

LOOK_UP_S = 6.0


def look_up_aside(host: str, port: int, patience: Patience) -> list[Place]:
    """Ask the resolver on a thread that may be left behind, because it cannot be interrupted."""
    ours, theirs = socket.socketpair()
    answers: list[list[Place] | Exception] = []

    def ask() -> None:
        try:
            answers.append(look_up(host, port, patience))
        except Exception as exc:
            answers.append(exc)
        with contextlib.suppress(OSError):
            theirs.send(b"!")
        theirs.close()

    threading.Thread(target=ask, name="names", daemon=True).start()
    with contextlib.closing(ours):
        mine = Patience(min(LOOK_UP_S, patience.until - time.monotonic()))
        mine.doing = f"looking up {host}"
        while not answers:
            mine.wait(ours)
    answer = answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer
