"""`top`: everything in one terminal, and the terminal given back as it was."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent.cli.curve import bars, gauge
from agent.cli.top_view import Page, difference
from agent.door import Glance, LinkStatus, Passing, Sentence, Status

ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"

CHILD = """
import fcntl, importlib.util, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-Z and a closed terminal reach us
spec = importlib.util.spec_from_file_location("scripted", sys.argv[1])
scripted = importlib.util.module_from_spec(spec)
sys.modules["scripted"] = scripted
spec.loader.exec_module(scripted)
from agent.cli import main
from agent.cli.shell import Shell

class Door(scripted.ScriptedDoor):
    def watch(self, on_status, on_events=None, on_gone=None):
        if sys.argv[2] == "gone":
            on_gone("no agent is running for this user")
            return lambda: None
        return super().watch(on_status, on_events, on_gone)

    def retry(self, app_id=None):
        from tracking.errors import RequestFault
        raise RequestFault("there is nothing to \\x1b[31mretry")

door = Door()
sys.exit(main(["top"], Shell(out=sys.stdout, err=sys.stderr, inward=sys.stdin,
              env=os.environ, door=lambda: door, entrance=None)))
"""


class Terminal:
    """A real pseudo terminal with `homing top` in it, and what it has shown so far."""

    def __init__(self, mode: str = "live", size: tuple[int, int] = (24, 80), **env: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        conftest = str(Path(__file__).with_name("conftest.py"))
        misleading = {"NO_COLOR", "COLUMNS", "LINES"}  # a runner's own terminal is not this one
        known = {key: value for key, value in os.environ.items() if key not in misleading}
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD, conftest, mode],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            env=known | {"TERM": "xterm-256color"} | env,
        )

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def until(self, wanted: bytes, seconds: float = 20.0) -> bytes:
        """Read until ``wanted`` has been shown; return what came since the call."""
        since = len(self.shown)
        deadline = time.monotonic() + seconds
        while wanted not in self.shown[since:]:
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} was not shown, but {self.shown[since:]!r}"
            if select.select([self.master], [], [], left)[0]:
                self.shown += os.read(self.master, 65536)
        return self.shown[since:]

    def ended(self) -> int:
        """Wait for the end; read what was still to be shown."""
        deadline = time.monotonic() + 20
        while self.child.poll() is None or select.select([self.master], [], [], 0)[0]:
            assert time.monotonic() < deadline, f"it goes on: {self.shown[-500:]!r}"
            if select.select([self.master], [], [], 0.05)[0]:
                self.shown += os.read(self.master, 65536)
        return self.child.returncode

    @property
    def restored(self) -> bool:
        """Whether settings, screen and cursor are as they were."""
        return (
            termios.tcgetattr(self.slave) == self.before
            and self.shown.rfind(LEAVE_SCREEN) > self.shown.rfind(ENTER_SCREEN)
            and self.shown.rfind(SHOW_CURSOR) > self.shown.rfind(HIDE_CURSOR)
        )

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        for descriptor in (self.master, self.slave):
            try:
                os.close(descriptor)
            except OSError:
                continue  # a test closed it


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Open terminals, and close them all."""
    opened: list[Terminal] = []

    def open_one(*words: Any, **env: str) -> Terminal:
        opened.append(Terminal(*words, **env))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_the_keys_pause_resume_retry_and_quit(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    page = screen.until(b"retry")
    assert ENTER_SCREEN in screen.shown
    assert b"Connected. 1,204 delivered today." in page
    assert termios.tcgetattr(screen.slave) != screen.before, "keys are read one by one"
    screen.press(b"p")
    assert b"Sending paused until you resume" in screen.until(b"Sending paused until you press r.")
    screen.press(b"r")
    screen.until(b"Resumed.")
    screen.press(b"R")
    refused = screen.until("there is nothing to ␛[31mretry".encode())
    assert b"Connected." in refused, "a refusal does not end the view"
    screen.press(b"\x1b[A")  # an arrow is no command
    screen.press(b"q")
    assert screen.ended() == 0
    assert screen.restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_the_terminal_is_as_before(
    terminal: Callable[..., Terminal], number: signal.Signals
) -> None:
    screen = terminal()
    screen.until(b"retry")
    screen.child.send_signal(number)
    assert screen.ended() == (130 if number is signal.SIGINT else 0)
    assert screen.restored
    assert b"Traceback" not in screen.shown


def test_a_suspension_gives_the_terminal_back_and_fg_takes_it_again(
    terminal: Callable[..., Terminal],
) -> None:
    screen = terminal()
    screen.until(b"retry")
    screen.press(b"\x1a")  # Ctrl-Z
    _, status = os.waitpid(screen.child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    screen.until(LEAVE_SCREEN)
    assert screen.restored
    screen.child.send_signal(signal.SIGCONT)
    screen.until(b"retry")
    assert not screen.restored
    screen.press(b"q")
    assert screen.ended() == 0
    assert screen.restored


def test_a_terminal_that_is_closed_ends_it(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.until(b"retry")
    os.close(screen.slave)
    os.close(screen.master)
    assert screen.child.wait(20) in (0, -signal.SIGHUP)


def test_an_agent_that_is_not_there_is_waited_for(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("gone")
    screen.until(b"no agent is running for this user. Waiting for the agent.")
    screen.press(b"q")
    assert screen.ended() == 0
    assert screen.restored


def test_a_terminal_that_grows_is_used(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.until(b"retry")
    screen.resize(40, 160)
    screen.child.send_signal(signal.SIGWINCH)
    screen.until(b"60 min")  # the whole hour fits now
    screen.press(b"q")
    assert screen.ended() == 0


COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3[0-7]|4[0-7]|38|48|9[0-7])[0-9;]*m")


def test_no_color_is_obeyed(terminal: Callable[..., Terminal]) -> None:
    plain, coloured = terminal(NO_COLOR="1"), terminal()
    assert not COLOUR.search(plain.until(b"retry"))
    assert COLOUR.search(coloured.until(b"retry"))
    for screen in (plain, coloured):
        screen.press(b"q")
        assert screen.ended() == 0


def test_without_a_terminal_it_prints_one_snapshot(desk: Any) -> None:
    assert desk.run("top") == 0
    assert "\x1b" not in desk.said
    assert "Connected. 1,204 delivered today." in desk.said
    assert " x 1)" not in desk.said, "an empty part must be empty, not the library's placeholder"
    assert not desk.door.asked


def drawn(page: Page, width: int, height: int) -> str:
    """Draw a page as text."""
    out = io.StringIO()
    Console(file=out, width=width, height=height, color_system=None).print(page, height=height)
    return out.getvalue()


@pytest.fixture
def page(status_of: Callable[..., Status]) -> Callable[..., Page]:
    """A page of a status that differs in what the test says."""
    from_now = status_of().at_ms
    event = Passing(
        at_ms=from_now,
        app_id="acme-notes",
        id="1",
        type="event",
        name="build.finished",
        user_id=None,
        size=9,
        payload="{}",
    )
    return lambda **changes: Page(status=status_of(**changes), passing=(event,), now_ms=from_now)


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 50), (240, 70)])
def test_everything_of_the_windows_first_page_fits(
    page: Callable[..., Page], size: tuple[int, int]
) -> None:
    shown = drawn(page(), *size)
    lines = shown.splitlines()
    assert len(lines) == size[1]
    assert max(map(len, lines)) <= size[0]
    for told in (
        "Connected. 1,204 delivered today.",
        "Live users: 2",
        "ada Linux PL",
        "build.finished",
        "App starts      12  +3 (+33 %)",
        "Errors           1  −1 (−50 %)",
        "Events       1,204  same",
        "accepted 86  delivered 10",
        "12 waiting, 2.3 KiB, oldest 40 s",
        "full in 3 d 4 h",
        "3 refused",
        "live 12 min",
        "latency 3 ms",
        "Linux 6.18 · x64 · 16 GB · en-GB",
        " q  quit   p  pause sending   r  retry",
    ):
        assert told in shown


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (1, 1), (79, 12)])
def test_a_terminal_that_is_too_small_is_no_error(
    page: Callable[..., Page], size: tuple[int, int]
) -> None:
    assert len(drawn(page(), *size).splitlines()) <= size[1]


def test_what_is_not_known_is_said_not_invented(page: Callable[..., Page]) -> None:
    shown = drawn(page(glance=None, live_count=None, live_users=(), links=(), facts=None), 80, 24)
    for told in ("nothing told yet", "the far end does not tell", "no far end yet", "pid 4711"):
        assert told in shown
    assert "none passed" in drawn(Page(status=page().status), 80, 24)
    waiting = drawn(Page(status=None), 80, 24)
    assert "Looking for the agent" in waiting
    assert "╭" not in waiting


def test_a_hostile_name_stays_inside_its_line(page: Callable[..., Page]) -> None:
    evil = "\x1b[2J\r\n[red]x[/red]\u202e"
    link = LinkStatus(
        app_id=evil, kind="nucleus", endpoint=evil, state="parked", since_ms=0, reason=evil
    )
    shown = drawn(page(links=(link,), sentence=Sentence(state="live", text=evil)), 200, 40)
    assert not set(shown) & set("\x1b\r\u202e")
    assert "[red]x[/red]" in shown, "no text is read as markup"
    assert len(shown.splitlines()) == 40


def test_five_connections_have_a_line_each(page: Callable[..., Page]) -> None:
    links = tuple(
        LinkStatus(app_id=f"app-{n}", kind="nucleus", endpoint="wss://x", state="live", since_ms=0)
        for n in range(5)
    )
    shown = drawn(page(links=links), 160, 50)
    assert all(f"app-{n}" in shown for n in range(5))


def test_a_terminal_without_unicode_gets_plain_bars(page: Callable[..., Page]) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    console = Console(file=out, width=80, height=24, color_system=None)
    console.print(page(), height=24)
    out.seek(0)
    assert "#" in out.read()


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [(12, 9, "+3 (+33 %)"), (1, 2, "−1 (−50 %)"), (5, 5, "same"), (5, 0, "+5"), (0, 0, "same")],
)
def test_a_difference_is_told_as_a_number_and_a_share(now: int, before: int, text: str) -> None:
    assert difference(now, before) == text


def test_bars_show_every_value_above_zero() -> None:
    assert bars([0, 1, 1000], 3, 1) == [" ▁█"]
    assert bars([8, 16], 2, 2) == [" █", "██"]
    assert bars([1, 2, 3, 4], 2, 1) == ["▆█"]
    assert bars([], 3, 1) == ["   "]
    assert bars([0, 0], 2, 1) == ["  "]
    assert bars([5], 0, 1) == [""]


def test_a_gauge_is_empty_only_for_nothing() -> None:
    assert gauge(0, 4) == "░░░░"
    assert gauge(0.001, 4) == "█░░░"
    assert gauge(7, 4, ascii_only=True) == "####"


def test_a_glance_without_users_leaves_the_line_out(page: Callable[..., Page]) -> None:
    glance = Glance(
        source="this computer",
        at_ms=0,
        app_starts=1,
        previous_app_starts=0,
        errors=0,
        previous_errors=0,
    )
    shown = drawn(page(glance=glance), 80, 24)
    assert "Users   " not in shown
    assert "App starts       1  +1" in shown
