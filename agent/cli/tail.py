"""`homing tail`: events as they pass.

The door calls back on a thread of its own; what it says is put in a list and a byte in a pipe,
and this thread alone prints. It sleeps until there is something to print or until the reader
of its output has gone, so `homing tail | head -1` ends when head does, not at the next event.
"""

from __future__ import annotations

import argparse
import io
import os
import select
from collections import deque
from typing import TYPE_CHECKING

from agent.cli.parser import at_least_one
from agent.cli.shell import OK, Shell
from agent.cli.table import clock
from agent.rules.wording import events, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import Passing, Status

MAX_WAITING = 10_000  #: Events kept for a slow reader; then the oldest are skipped, and counted.


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `tail`."""
    parser.app_option("events of this app only")
    parser.add_argument("--count", metavar="N", type=at_least_one, help="stop after so many events")
    parser.json_option()
    parser.set_defaults(run=tail)


def tail(args: argparse.Namespace, shell: Shell) -> int:
    """Print events until interrupted, until the reader goes, or until there were enough."""
    door = shell.door()
    door.status()  # nobody there: say so now, rather than wait in silence
    passing = Passings(args.app)
    stop = door.watch(passing.on_status, passing.on_events, passing.on_gone)
    left: int | None = args.count
    try:
        while left is None or left > 0:
            passing.wait(shell.out)
            for sentence in passing.sentences():
                shell.complain(sentence)
            for event in passing.events(left):
                _print(event, shell, as_json=args.json)
                left = None if left is None else left - 1
            shell.out.flush()
    finally:
        stop()
        passing.close()
    return OK


class Passings:
    """What the door's thread said and this one has not printed yet.

    Attributes:
        skipped: Events dropped because the reader was slower than the apps.

    """

    def __init__(self, app_id: str | None) -> None:
        self.app_id = app_id
        self.skipped = 0
        self._waiting: deque[Passing] = deque()
        self._sentences: deque[str] = deque()
        self._gone = False
        self._ears, self._mouth = os.pipe()
        os.set_blocking(self._ears, False)
        os.set_blocking(self._mouth, False)

    def on_status(self, _status: Status) -> None:
        """Note that the agent is back."""
        if self._gone:
            self._gone = False
            self._sentences.append("the agent is back")
            self._ring()

    def on_events(self, events: tuple[Passing, ...]) -> None:
        """Keep what passed."""
        for event in events:
            if self.app_id is None or event.app_id == self.app_id:
                self._waiting.append(event)
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.skipped += 1
        self._ring()

    def on_gone(self, sentence: str) -> None:
        """Note that nobody answers; the door goes on trying."""
        if not self._gone:
            self._gone = True
            self._sentences.append(f"{visible(sentence)}; waiting for the agent")
            self._ring()

    def wait(self, out: io.TextIOBase | object) -> None:
        """Sleep until something was said; raise BrokenPipeError when ``out`` has no reader."""
        poll = select.poll()
        poll.register(self._ears, select.POLLIN)
        written = _descriptor(out)
        if written is not None:
            poll.register(written, 0)  # errors and hang-ups are reported unasked
        for descriptor, what in poll.poll():
            if descriptor == written and what & (select.POLLERR | select.POLLHUP):
                raise BrokenPipeError
        try:
            os.read(self._ears, 4096)
        except BlockingIOError:
            return

    def events(self, limit: int | None) -> list[Passing]:
        """Take what has passed, at most ``limit``."""
        wanted = len(self._waiting) if limit is None else min(limit, len(self._waiting))
        return [self._waiting.popleft() for _ in range(wanted)]

    def sentences(self) -> list[str]:
        """Take what is to be said beside the events."""
        if self.skipped:
            self._sentences.append(f"{events(self.skipped)} skipped, the reader is too slow")
            self.skipped = 0
        return [self._sentences.popleft() for _ in range(len(self._sentences))]

    def close(self) -> None:
        """Give the pipe back; the door has been stopped before."""
        os.close(self._mouth)
        os.close(self._ears)

    def _ring(self) -> None:
        try:
            os.write(self._mouth, b"!")
        except BlockingIOError:
            return  # the pipe is full of bells already
        except OSError:
            return  # closed: the last call of a watch that is being stopped


def _descriptor(out: object) -> int | None:
    try:
        return out.fileno()  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, OSError, ValueError):
        return None


def _print(event: Passing, shell: Shell, *, as_json: bool) -> None:
    if as_json:
        shell.json(event)
        return
    what = visible(event.name) if event.name else f"({visible(event.type, 40)})"
    who = f" {visible(event.user_id, 60)}" if event.user_id else ""
    payload = f" {visible(event.payload, 500)}" if event.payload else ""
    marks = f" [{visible('; '.join(event.marks), 300)}]" if event.marks else ""
    shell.say(f"{clock(event.at_ms)} {visible(event.app_id, 60)} {what}{who}{payload}{marks}")
