"""A scripted door, a whole status, and a shell of buffers: what every command's test needs."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.cli.shell import Shell
from agent.door import (
    AppStatus,
    Check,
    Depth,
    Facts,
    Glance,
    LinkStatus,
    LiveUser,
    Minute,
    Notice,
    Passing,
    Pause,
    QueuedEvent,
    Sent,
    Sentence,
    Status,
    WireEntry,
)
from agent.door.wire import ReadWire, WirePage
from tracking.errors import AgentGone

NOW_MS = 1_760_000_000_000


def make_status(**changes: Any) -> Status:
    """A live agent in the middle of a busy day."""
    minutes = tuple(
        Minute(at_ms=NOW_MS - (60 - n) * 60_000, accepted=n * n % 97, delivered=n * n % 89)
        for n in range(60)
    )
    known: dict[str, Any] = {
        "at_ms": NOW_MS,
        "version": "0.1.0",
        "pid": 4711,
        "started_ms": NOW_MS - 7_200_000,
        "sentence": Sentence(state="live", text="Connected. 1,204 delivered today."),
        "links": (
            LinkStatus(
                app_id="acme-notes",
                kind="nucleus",
                endpoint="wss://far.example",
                state="live",
                since_ms=NOW_MS - 720_000,
                latency_ms=3.4,
                last_ack_ms=NOW_MS - 2000,
                sent_bytes=1_300_000,
                received_bytes=4096,
            ),
        ),
        "apps": (
            AppStatus(
                app_id="acme-notes",
                name="Acme Notes",
                consent="allowed",
                consent_from="settings file",
                accepted=1221,
                delivered=1204,
                pending=12,
                dead=3,
                lost={"expired": 2},
                repeats=7,
            ),
        ),
        "depth": Depth(
            events=12,
            bytes=2400,
            max_events=1_000_000,
            max_bytes=268_435_456,
            oldest_ms=NOW_MS - 40_000,
            dead=3,
            full_in_s=273_600.0,
        ),
        "minutes": minutes,
        "glance": Glance(
            source="collector",
            at_ms=NOW_MS,
            app_starts=12,
            previous_app_starts=9,
            errors=1,
            previous_errors=2,
            events=1204,
            previous_events=1204,
            users=5,
            previous_users=0,
        ),
        "live_count": 2,
        "live_users": (
            LiveUser(device_id="iqh72cfm", user_id="ada", platform="Linux", country="PL"),
            LiveUser(device_id="q3x9", platform="macOS", last_seen_ms=NOW_MS - 3000),
        ),
        "facts": Facts(
            platform="Linux",
            os_version="6.18",
            total_ram=16,
            language="en-GB",
            arch="x64",
            device_id="iqh72cfm4f2ldjrq4x5dy3q3",
            key_kept_in="keyring",
        ),
        "default_app": "acme-notes",
        "address": "/run/user/1000/homing/agent.sock",
        "settings_file": "/home/ada/.config/homing/homing.toml",
    }
    return Status(**(known | changes))


PASSING = tuple(
    Passing(
        at_ms=NOW_MS - 1000 * n,
        app_id="acme-notes",
        id=f"id-{n}",
        type="event",
        name=f"build.finished.{n}",
        user_id="ada",
        size=120,
        payload='{"seconds":41}',
    )
    for n in range(3)
)


@dataclass
class ScriptedDoor:
    """A door that answers what the test wrote down, and remembers what it was asked."""

    now: Status = field(default_factory=make_status)
    events: tuple[Passing, ...] = PASSING
    queued: tuple[QueuedEvent, ...] = ()
    dead: tuple[QueuedEvent, ...] = ()
    frames: tuple[WireEntry, ...] = ()
    checks: tuple[Check, ...] = ()
    sent: Sent = field(default_factory=lambda: Sent(ids=("8ZyUbx",), delivered=False))
    asked: list[tuple[str, Any]] = field(default_factory=list)

    answers: dict[type, Any] = field(default_factory=dict)  # a request's class → its answer

    def _note(self, what: str, *words: Any) -> None:
        self.asked.append((what, words))

    def ask(self, request: Any) -> Any:
        """Answer a request of the door's table: what the test wrote down, or called with it."""
        self._note(type(request).__name__, request)
        if isinstance(request, ReadWire) and ReadWire not in self.answers:
            return WirePage(entries=self.frames)
        answer = self.answers[type(request)]
        return answer(request) if callable(answer) else answer

    def status(self) -> Status:
        return self.now

    def watch(
        self,
        on_status: Callable[[Status], None],
        on_events: Callable[[tuple[Passing, ...]], None] | None = None,
        on_gone: Callable[[str], None] | None = None,
    ) -> Callable[[], None]:
        on_status(self.now)
        if on_events is not None:
            on_events(self.events)
        return lambda: self._note("stop watching")

    def send(
        self,
        name: str,
        *,
        app_id: str | None = None,
        payload: Mapping[str, object] | None = None,
        type: str = "event",
        wait: str = "durable",
        timeout_s: float = 30.0,
    ) -> Sent:
        self._note("send", name, app_id, payload, type, wait, timeout_s)
        return self.sent

    def pause(self, for_s: float | None, reason: str = "you asked") -> Status:
        self._note("pause", for_s, reason)
        until_ms = None if for_s is None else NOW_MS + int(for_s * 1000)
        self.now = make_status(
            sentence=Sentence(state="paused", text="Sending paused until you resume (you asked)."),
            pause=Pause(reason=reason, since_ms=NOW_MS, until_ms=until_ms),
        )
        return self.now

    def resume(self) -> Status:
        self._note("resume")
        self.now = make_status()
        return self.now

    def retry(self, app_id: str | None = None) -> Status:
        self._note("retry", app_id)
        return self.now

    def keep_here(self) -> Status:
        self._note("keep here")
        return self.now

    def outbox(self, *, app_id: str | None = None, limit: int = 100) -> tuple[QueuedEvent, ...]:
        self._note("outbox", app_id, limit)
        return self.queued[:limit]

    def dead_letters(
        self, *, app_id: str | None = None, limit: int = 100
    ) -> tuple[QueuedEvent, ...]:
        self._note("dead letters", app_id, limit)
        return tuple(e for e in self.dead if app_id in (None, e.app_id))[:limit]

    def retry_dead(self, ids: tuple[str, ...] | None = None) -> int:
        self._note("retry dead", ids)
        return len(self.dead) if ids is None else len(ids)

    def drop_dead(self, ids: tuple[str, ...] | None = None) -> int:
        self._note("drop dead", ids)
        return len(self.dead) if ids is None else len(ids)

    def wire(self, *, app_id: str | None = None, limit: int = 100) -> tuple[WireEntry, ...]:
        self._note("wire", app_id, limit)
        return self.frames

    def doctor(self) -> tuple[Check, ...]:
        return self.checks

    def stop(self) -> None:
        self._note("stop")


class Terminal(io.StringIO):
    """A buffer that claims to be a person's terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Desk:
    """Runs commands and keeps what they printed."""

    home: Path
    door: ScriptedDoor | None = field(default_factory=ScriptedDoor)
    inward: io.StringIO = field(default_factory=io.StringIO)
    out: io.StringIO = field(default_factory=io.StringIO)
    err: io.StringIO = field(default_factory=io.StringIO)
    entrance: Callable[[], Any] | None = None
    face: Callable[[Mapping[str, str], bool], int] | None = None
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str) -> int:
        """Run one command; what the one before printed is forgotten."""
        for buffer in (self.out, self.err):
            buffer.seek(0)
            buffer.truncate()
        shell = Shell(
            out=self.out,
            err=self.err,
            inward=self.inward,
            env={"HOMING_HOME": str(self.home)} | self.env,
            door=self._door,  # type: ignore[arg-type]
            entrance=self.entrance or self._no_entrance,
            face=self.face,
        )
        return main(words, shell)

    @property
    def said(self) -> str:
        return self.out.getvalue()

    @property
    def complained(self) -> str:
        return self.err.getvalue()

    def _door(self) -> ScriptedDoor:
        if self.door is None:
            raise AgentGone("no agent is running for this user", advice="Start it with `homing`.")
        return self.door

    def _no_entrance(self) -> Any:
        raise AgentGone("no agent is running for this user", advice="Start it with `homing`.")


@pytest.fixture
def desk(home: Path) -> Desk:
    """A shell of buffers in front of a scripted door."""
    return Desk(home)


@pytest.fixture
def status_of() -> Callable[..., Status]:
    """Make a status that differs from a live one in what the test says."""
    return make_status


@pytest.fixture
def notice() -> Notice:
    return Notice(
        code="secret.memory",
        text="The device key is kept in memory only",
        severity="warning",
        since_ms=NOW_MS - 60_000,
    )
