"""Looking a name up on a thread of its own, because a resolver cannot be interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent.adapters.roads.connecting import Place, Resolve
from agent.adapters.roads.patience import Patience


def beside(resolve: Resolve, wake: Callable[[], None], name: str) -> Resolve:
    """Return a resolver that waits with the patience of whoever asks, and leaves a slow one behind.

    Args:
        resolve: Blocks as long as it likes.
        wake: Ends the asker's wait, from another thread.
        name: Of the asker, for the thread's.

    """

    def asked(host: str, port: int, patience: Patience) -> list[Place]:
        answers: list[list[Place] | Exception] = []

        def ask() -> None:
            try:
                answers.append(resolve(host, port, patience))
            except Exception as exc:
                answers.append(exc)
            wake()

        threading.Thread(target=ask, name=f"names {name}", daemon=True).start()
        while not answers:
            patience.wait(None)
        answer = answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return asked
