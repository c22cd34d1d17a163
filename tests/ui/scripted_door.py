"""A door with nobody behind it but the test: it says what it is told to, from its own thread.

Run as a program it serves one face on a real display: commands come on standard input, one JSON
array a line, and what the face asked for goes to standard output. So a test in another process
can drive it.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar, cast

import msgspec

from agent.door import (
    AppStatus,
    Check,
    Passing,
    Pause,
    QueuedEvent,
    Sent,
    Sentence,
    Status,
    WireEntry,
)
from agent.door.apps import Outcome
from agent.door.asking import Request
from tracking.errors import AgentGone, Fault

T = TypeVar("T")


def now_ms() -> int:
    return round(time.time() * 1000)


def snapshot(pending: int = 0, **changes: object) -> Status:
    """Return a healthy snapshot; ``pid`` carries a number that tests can tell snapshots by."""
    base = Status(
        at_ms=now_ms(),
        version="0.1.0",
        pid=pending,
        started_ms=now_ms() - 60_000,
        sentence=Sentence(state="live", text="Everything is delivered.", since_ms=now_ms()),
        default_app="acme",
        address="/tmp/agent.sock",
    )
    return msgspec.structs.replace(base, **changes)


def knocker(app_id: str = "acme-recorder", **changes: object) -> AppStatus:
    """Return an app that nobody allowed and that knocks."""
    base = AppStatus(
        app_id=app_id,
        name=app_id,
        consent="pending",
        consent_from="not asked yet",
        asking=True,
        knocks=2,
        offered=5,
        executable="/opt/acme/recorder",
        pid=4711,
        first_knock_ms=now_ms(),
    )
    return msgspec.structs.replace(base, **changes)


def event(n: int = 0, **changes: object) -> Passing:
    """Return one passing event."""
    base = Passing(
        at_ms=now_ms(),
        app_id="acme",
        id=f"id-{n}",
        type="event",
        name=f"event.{n}",
        user_id="ada",
        size=120,
        payload=json.dumps({"n": n}),
    )
    return msgspec.structs.replace(base, **changes)


class ScriptedDoor:
    """Implements :class:`agent.door.Door`; the test is the agent.

    Attributes:
        calls: What was asked, in order, as ``(method, argument)``.
        fault: Raised by the next command, then forgotten.
        silent: It says nothing of itself when it is first watched.
        gate: Commands wait for it: cleared, the agent hangs.

    """

    def __init__(self, status: Status | None = None, *, silent: bool = False) -> None:
        self.now = status or snapshot()
        self._silent = silent
        self.calls: list[tuple[str, object]] = []
        self.fault: Fault | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.watched = threading.Event()
        self.on_call: Callable[[str, object], None] = lambda method, argument: None
        self._letters: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._on_status: Callable[[Status], None] = lambda status: None
        self._on_events: Callable[[tuple[Passing, ...]], None] | None = None
        self._on_gone: Callable[[str], None] | None = None

    # What the test does.

    def say(self, status: Status) -> None:
        """Let the agent tell a snapshot."""
        self.now = status
        self._letters.put(lambda: self._on_status(status))

    def pass_by(self, *events: Passing) -> None:
        """Let events pass."""
        self._letters.put(lambda: self._on_events(events) if self._on_events else None)

    def vanish(self, sentence: str = "no agent answers") -> None:
        """Let the agent fall silent."""
        self._letters.put(lambda: self._on_gone(sentence) if self._on_gone else None)

    # What the face does.

    def status(self) -> Status:
        return self.now

    def ask(self, request: Request[T]) -> T:
        self._asked(type(request).__name__, msgspec.to_builtins(request))
        app_id = getattr(request, "app_id", None)
        apps = tuple(app for app in self.now.apps if app.app_id != app_id)
        self.say(msgspec.structs.replace(self.now, apps=apps))
        return cast(T, Outcome(note="As you said."))

    def watch(
        self,
        on_status: Callable[[Status], None],
        on_events: Callable[[tuple[Passing, ...]], None] | None = None,
        on_gone: Callable[[str], None] | None = None,
    ) -> Callable[[], None]:
        self._on_status, self._on_events, self._on_gone = on_status, on_events, on_gone
        pump = threading.Thread(target=self._pump, name="scripted-door", daemon=True)
        pump.start()
        if not self._silent:
            self.say(self.now)
        self.watched.set()

        def stop() -> None:
            self._letters.put(None)
            pump.join(2)

        return stop

    def _pump(self) -> None:
        while (letter := self._letters.get()) is not None:
            letter()

    def _asked(self, method: str, argument: object = None) -> None:
        self.gate.wait(10)
        self.calls.append((method, argument))
        self.on_call(method, argument)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault

    def send(
        self,
        name: str,
        *,
        app_id: str | None = None,
        payload: Mapping[str, object] | None = None,
        type: str = "event",
        wait: Literal["durable", "delivered"] = "durable",
        timeout_s: float = 30.0,
    ) -> Sent:
        self._asked("send", name)
        return Sent(ids=("1",), delivered=False)

    def pause(self, for_s: float | None, reason: str = "you asked") -> Status:
        self._asked("pause", for_s)
        at = now_ms()
        until = None if for_s is None else at + round(for_s * 1000)
        return self._answer(
            sentence=Sentence(state="paused", text="Paused.", since_ms=at),
            pause=Pause(reason=reason, since_ms=at, until_ms=until),
        )

    def resume(self) -> Status:
        self._asked("resume")
        sentence = Sentence(state="live", text="Everything is delivered.", since_ms=now_ms())
        return self._answer(sentence=sentence, pause=None)

    def retry(self, app_id: str | None = None) -> Status:
        self._asked("retry", app_id)
        return self.now

    def keep_here(self) -> Status:
        self._asked("keep_here")
        return self._answer(keeping="running")

    def _answer(self, **changes: object) -> Status:
        self.now = msgspec.structs.replace(self.now, **changes)
        return self.now

    def outbox(self, *, app_id: str | None = None, limit: int = 100) -> tuple[QueuedEvent, ...]:
        return ()

    def dead_letters(
        self, *, app_id: str | None = None, limit: int = 100
    ) -> tuple[QueuedEvent, ...]:
        return ()

    def retry_dead(self, ids: tuple[str, ...] | None = None) -> int:
        return 0

    def drop_dead(self, ids: tuple[str, ...] | None = None) -> int:
        return 0

    def wire(self, *, app_id: str | None = None, limit: int = 100) -> tuple[WireEntry, ...]:
        return ()

    def doctor(self) -> tuple[Check, ...]:
        return ()

    def stop(self) -> None:
        self._asked("stop")


def tell(*words: object) -> None:
    """Write one line for the test to read."""
    print(json.dumps(words), flush=True)


def serve(state_dir: str, *flags: str) -> int:
    """Show a face on the display of the environment; return its exit code."""
    from PySide6.QtCore import QTimer

    from ui import app as face_app

    door = ScriptedDoor()
    door.on_call = lambda method, argument: tell("asked", method, argument)
    raisers: list[Callable[[], None]] = []

    def open_door() -> ScriptedDoor:
        if "late" in flags and not door.watched.is_set():
            door.watched.set()
            raise AgentGone("nobody is there yet")
        return door

    def listen() -> None:
        for line in sys.stdin:
            word, *rest = json.loads(line)
            match word:
                case "state":
                    state, text = rest
                    sentence = Sentence(state=state, text=text, since_ms=now_ms())
                    door.say(msgspec.structs.replace(door.now, sentence=sentence))
                case "knock":
                    apps = tuple(knocker(app_id) for app_id in rest)
                    door.say(msgspec.structs.replace(door.now, apps=apps))
                case "event":
                    door.pass_by(event(1, name=rest[0]))
                case "vanish":
                    door.vanish()
                case "raise":
                    raisers[0]()

    def on_raise(call: Callable[[], None]) -> None:
        raisers.append(call)
        threading.Thread(target=listen, daemon=True).start()
        QTimer.singleShot(0, lambda: tell("ready"))

    code = face_app.run(
        open_door,
        hosted="attached" not in flags,
        state_dir=Path(state_dir),
        show_window="window" in flags,
        on_raise=on_raise,
    )
    tell("exit", code)
    return code


if __name__ == "__main__":
    sys.exit(serve(*sys.argv[1:]))
