"""`homing top`: the window's first page in a terminal.

One thread draws and reads keys. The door calls back on a thread of its own; it leaves its news
in a slot and a byte in a pipe. The loop sleeps in ``select`` until a key, news, a signal or the
next second (times like "next try in 40 s" move on their own).

An agent that goes away does not end the view [R15]: the door tries again every 3 s, and the
first line says so meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from agent.cli.keyboard import Keyboard
from agent.cli.shell import OK, Shell
from agent.cli.top_view import Page
from tracking.errors import AgentGone, Fault

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import Door, Passing, Status

KEPT_EVENTS = 200
TICK_S = 1.0
SAID_S = 5.0  #: How long the answer to a key stays.
SNAPSHOT_LINES = 24


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `top`."""
    parser.add_argument(
        "--once", action="store_true", help="print one snapshot and end, as when it is piped"
    )
    parser.set_defaults(run=lambda args, shell: top(shell, once=args.once))


def top(shell: Shell, *, once: bool, hosted: bool = False) -> int:
    """Show everything until somebody presses q; without a terminal, once.

    Args:
        shell: The surroundings.
        once: Print one snapshot.
        hosted: The agent lives in this process: when it is stopped there is nobody to wait for,
            and whoever waits holds its lock.

    """
    no_color = bool(shell.env.get("NO_COLOR"))
    console = Console(file=shell.out, no_color=no_color, highlight=False)
    live = shell.out.isatty() and shell.inward.isatty() and not console.is_dumb_terminal
    if once or not live:
        status = shell.door().status()
        page = Page(status=status, now_ms=status.at_ms, keys=False)
        console.print(page, height=SNAPSHOT_LINES)
        return OK
    return _watch(shell, console, hosted=hosted)


def _watch(shell: Shell, console: Console, *, hosted: bool) -> int:
    door = shell.door()
    news = News()
    stop = door.watch(news.on_status, news.on_events, news.on_gone)
    try:
        with Keyboard(shell.inward) as keyboard, _signals(news) as wishes:
            screen = Live(
                console=console,
                screen=True,
                auto_refresh=False,  # no thread of the library's: we know when to draw
                redirect_stdout=False,
                redirect_stderr=False,
            )
            with screen:
                over = partial(_ended, door, news) if hosted else None
                _turn(door, news, wishes, keyboard, screen, over)
    except OSError:
        return OK  # the terminal was closed under us
    finally:
        stop()
        news.close()
    return OK


def _ended(door: Door, news: News) -> bool:
    """Tell whether the agent no longer answers; a watch alone may also be lost."""
    if not news.gone:
        return False
    try:
        door.status()
    except AgentGone:
        return True
    return False


def _turn(
    door: Door,
    news: News,
    wishes: Wishes,
    keyboard: Keyboard,
    screen: Live,
    over: Callable[[], bool] | None,
) -> None:
    while True:
        screen.update(news.page(), refresh=True)
        ready, _, _ = select.select([keyboard.descriptor, news.ears], [], [], TICK_S)
        if news.ears in ready:
            news.heard()
        if wishes.end or (over is not None and over()):
            return
        if wishes.suspend:
            wishes.suspend = False
            screen.stop()
            keyboard.rest()
            os.kill(os.getpid(), signal.SIGSTOP)  # goes on here after `fg`
            keyboard.resume()
            screen.start()
        if keyboard.descriptor in ready:
            keys = keyboard.read()
            if keys is None or "q" in keys:
                return
            _obey(keys, door, news)


def _obey(keys: str, door: Door, news: News) -> None:
    """Carry out what keys ask for; a refusal is shown, not raised."""
    try:
        if "p" in keys:
            news.on_status(door.pause(None))
            news.say("Sending paused until you press r.")
        elif "r" in keys and news.paused:
            news.on_status(door.resume())
            news.say("Resumed.")
        elif "r" in keys:
            news.on_status(door.retry())
            news.say("Dialling now.")
    except Fault as fault:
        news.say(str(fault))


class News:
    """The newest of everything, left by the door's thread and drawn by ours.

    Each slot is one assignment, so nothing here needs a lock: the newest wins.
    """

    def __init__(self) -> None:
        self._status: Status | None = None
        self._gone = ""
        self._said = ""
        self._said_until = 0.0
        self._passing: deque[Passing] = deque(maxlen=KEPT_EVENTS)
        self.ears, self._mouth = os.pipe()
        os.set_blocking(self.ears, False)
        os.set_blocking(self._mouth, False)

    @property
    def gone(self) -> bool:
        """Whether nobody answered the last time."""
        return bool(self._gone)

    @property
    def paused(self) -> bool:
        """Whether the newest status says so."""
        return self._status is not None and self._status.pause is not None

    def on_status(self, status: Status) -> None:
        """Keep a snapshot; somebody answers."""
        self._status, self._gone = status, ""
        self.ring()

    def on_events(self, events: tuple[Passing, ...]) -> None:
        """Keep what passed."""
        self._passing.extend(events)
        self.ring()

    def on_gone(self, sentence: str) -> None:
        """Note that nobody answers."""
        self._gone = sentence
        self.ring()

    def say(self, sentence: str) -> None:
        """Show the answer to a key for some seconds."""
        self._said, self._said_until = sentence, time.monotonic() + SAID_S

    def page(self) -> Page:
        """Return this moment."""
        return Page(
            status=self._status,
            passing=tuple(self._passing),
            gone=self._gone,
            said=self._said if time.monotonic() < self._said_until else "",
            now_ms=time.time_ns() // 1_000_000,
        )

    def heard(self) -> None:
        """Empty the pipe of its bells."""
        try:
            os.read(self.ears, 4096)
        except BlockingIOError:
            return

    def ring(self) -> None:
        """Wake the loop."""
        try:
            os.write(self._mouth, b"!")
        except OSError:
            return  # full: it is awake already; closed: it has ended

    def close(self) -> None:
        """Give the pipe back; the door has been stopped before."""
        os.close(self._mouth)
        os.close(self.ears)


class Wishes:
    """What signals asked for, until the loop gets to it."""

    def __init__(self) -> None:
        self.end = False
        self.suspend = False


@contextmanager
def _signals(news: News) -> Iterator[Wishes]:
    """Turn signals into wishes, so that the terminal is always given back in order."""
    wishes = Wishes()

    def end(_number: int, _frame: FrameType | None) -> None:
        wishes.end = True
        news.ring()

    def suspend(_number: int, _frame: FrameType | None) -> None:
        wishes.suspend = True
        news.ring()

    def resized(_number: int, _frame: FrameType | None) -> None:
        news.ring()

    wanted: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: end,
        signal.SIGHUP: end,
        signal.SIGTSTP: suspend,
        signal.SIGWINCH: resized,
    }
    before = {number: signal.signal(number, does) for number, does in wanted.items()}
    try:
        yield wishes
    finally:
        for number, was in before.items():
            signal.signal(number, was)
