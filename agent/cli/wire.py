"""`homing wire`: what left this machine and what came back, as it was on the wire.

Pretty by default: one event a line, JSON indented, what a terminal could obey made visible. With
``--raw`` the bytes stay on one line as they were. Nothing here is ever a secret: they were masked
before the record was written.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from agent.cli.parser import at_least_one, duration_s, one_of, text
from agent.cli.shell import OK, Shell, UsageFault
from agent.door.wire import MOST_ENTRIES, ReadWire
from agent.rules.wording import count, size, visible
from tracking.errors import AgentGone

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import Door, WireEntry
    from agent.door.wire import WirePage

FOLLOW_S = 25.0  #: One question of a follower waits so long.
AGAIN_S = 1.0  #: After that it looks again for an agent that went away.
SHORT = 160  #: Characters of JSON that stay on one line.
WIDEST = 100_000  #: Characters of one line that are shown.
VERDICTS = ("acknowledged", "refused", "not answered", "retried", "not sent")
_FRAME = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EVENTS = msgspec.json.Decoder(list[msgspec.Raw])


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `wire`."""
    parser.app_option("of this app only")
    parser.add_argument("--upstream", metavar="NAME", type=text, help="of this way out only")
    parser.add_argument(
        "--direction", type=one_of("sent", "received"), metavar="WAY", help="sent or received"
    )
    parser.add_argument(
        "--verdict", type=one_of(*VERDICTS), metavar="WORD", help=f"one of: {', '.join(VERDICTS)}"
    )
    parser.add_argument("--search", metavar="TEXT", type=text, default="", help="that contain this")
    parser.add_argument("--since", metavar="TIME", type=duration_s, help="of the last 30m, 2d, …")
    parser.add_argument(
        "--limit", metavar="N", type=at_least_one, default=20, help="the newest N (20)"
    )
    parser.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--raw", action="store_true", help="the bytes as they were, on one line")
    parser.json_option()
    parser.set_defaults(run=wire)


def wire(args: argparse.Namespace, shell: Shell) -> int:
    """Print what was said on the wires, oldest first."""
    if args.limit > MOST_ENTRIES:
        raise UsageFault(f"--limit is at most {MOST_ENTRIES:,}")
    door = shell.door()
    wanted = ReadWire(
        app_id=args.app,
        upstream=args.upstream,
        direction=args.direction,
        verdict=args.verdict,
        search=args.search,
        since_ms=0 if args.since is None else time.time_ns() // 1_000_000 - round(args.since * 1e3),
        limit=args.limit,
    )
    entries, last = _newest(door, wanted)
    if args.json and not args.follow:
        shell.json(entries)
        return OK
    for entry in entries:
        _print(entry, shell, args)
    if last.dropped:
        shell.complain(f"{count(last.dropped)} were not kept: they came too fast for the disk")
    if args.follow:
        _follow(door, wanted, last.newest, shell, args)
    elif not entries:
        filtered = args.upstream or args.direction or args.verdict or args.search or args.since
        whose = "" if args.app is None else f" for {visible(args.app, 60)}"
        none = f"Nothing in the record of the wire fits{whose}."
        shell.say(none if filtered else f"Nothing has left this machine{whose} yet.")
    return OK


def _newest(door: Door, wanted: ReadWire) -> tuple[list[WireEntry], WirePage]:
    """Return the newest that fit, oldest first, asked for page by page."""
    first = page = door.ask(wanted)
    entries = list(page.entries)
    while page.more and len(entries) < wanted.limit:
        rest = wanted.limit - len(entries)
        page = door.ask(msgspec.structs.replace(wanted, before=entries[-1].n, limit=rest))
        entries += page.entries
    return entries[::-1], first


def _follow(
    door: Door, wanted: ReadWire, after: int, shell: Shell, args: argparse.Namespace
) -> None:
    """Print what is said from now on; ends with Ctrl-C, not with the agent."""
    while True:
        shell.out.flush()
        ask = msgspec.structs.replace(wanted, after=after, limit=1_000, wait_s=FOLLOW_S)
        try:
            page = door.ask(ask)
        except AgentGone:
            shell.complain("the agent has ended; waiting until it is back")
            door, newest = _back(shell)
            after = min(after, newest)  # numbers begin anew where all was forgotten meanwhile
            continue
        for entry in page.entries:
            _print(entry, shell, args)
        after = page.newest


def _back(shell: Shell) -> tuple[Door, int]:
    """Wait for an agent; return its door, and the number of its newest entry."""
    while True:
        time.sleep(AGAIN_S)
        try:
            door = shell.door()
            return door, door.ask(ReadWire(limit=1)).newest
        except AgentGone:
            pass


def _print(entry: WireEntry, shell: Shell, args: argparse.Namespace) -> None:
    if args.json:
        shell.json(entry)
        return
    shell.say(headline(entry))
    if args.raw:
        if entry.text:
            shell.say(f"  {visible(entry.text, WIDEST)}")
        return
    for line in pretty(entry.text):
        shell.say(f"  {visible(line, WIDEST)}")


def headline(entry: WireEntry) -> str:
    """Return when, which way, whose, how much and what became of it, in one line."""
    at = datetime.fromtimestamp(entry.at_ms / 1000).astimezone()
    when = f"{at:%Y-%m-%d %H:%M:%S}.{entry.at_ms % 1000:03d}"
    whose = entry.app_id + (f"/{entry.upstream}" if entry.upstream else "")
    if entry.kind == "verdict":
        return f"{when} ↳ {visible(whose, 130)} no. {entry.of}: {visible(entry.verdict, 300)}"
    words = ["→" if entry.direction == "sent" else "←", visible(whose, 130)]
    if entry.kind != "frame":
        words.append(entry.kind)
    if entry.head:
        words.append(visible(entry.head, 300))
    words.append(size(entry.size))
    if entry.peer:
        words.append(f"[{visible(entry.peer, 200)}]")
    if entry.verdict:
        words.append(f"· {visible(entry.verdict, 300)}")
    return f"{when} {' '.join(words)}"


def pretty(said: str) -> Iterator[str]:
    """Yield the lines of something as a person reads it: JSON indented, one event a line."""
    if not said:
        return
    if not said.startswith(("{", "[")):
        head, _, body = said.partition("\r\n\r\n")
        if not body.startswith(("{", "[")):
            yield from re.split(r"\r?\n", said.strip())
            return
        yield from re.split(r"\r?\n", head.strip())
        said = body
    if len(said) <= SHORT:
        yield said
        return
    try:
        frame = _FRAME.decode(said)
        events = _EVENTS.decode(frame.pop("data")) if "data" in frame else []
    except (msgspec.MsgspecError, RecursionError):
        yield said
        return
    if not events:
        yield from msgspec.json.format(said.encode(), indent=2).decode().splitlines()
        return
    rest = "".join(f', "{key}": {bytes(value).decode()}' for key, value in frame.items())
    yield '{"data": ['
    for n, event in enumerate(events, 1):
        yield f"  {bytes(event).decode()}" + ("," if n < len(events) else "")
    yield f"]{rest}}}"
