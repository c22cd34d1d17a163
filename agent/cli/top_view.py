"""What `homing top` shows: the window's first page in characters. Pure but for the layout library.

Everything that the window's first page tells is here, whatever the size of the terminal: the
sentence, live users, live events, the day against the day before, the curve, the outbox and
its forecast, the machine, the connections. At 80 by 24 it just fits; wider and taller terminals
give the curve and the lists more room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.text import Text

from agent.cli.curve import bars, gauge
from agent.door import Depth, Glance, LinkStatus, Passing, Status
from agent.rules.wording import count, size, span, visible

WIDE = 120  #: From so many columns on there are three columns instead of two.
LOOK = {"live": "green", "offline": "yellow", "paused": "cyan", "attention": "bold red"}
LINK_LOOK = {"live": "green", "waiting": "yellow", "dialing": "yellow", "parked": "red"}
LINK_ORDER = {"parked": 0, "waiting": 1, "dialing": 2, "idle": 3, "live": 4}  #: Worst first.
QUIET = "bright_black"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One moment of `homing top`; rich draws it.

    Attributes:
        status: The newest snapshot, None before the first.
        passing: Newest events, oldest first.
        gone: Why nobody answers just now; empty while somebody does.
        said: What a key did, or why it failed.
        now_ms: Unix milliseconds.
        keys: Whether keys are read, so that they are worth naming.

    """

    status: Status | None
    passing: Sequence[Passing] = ()
    gone: str = ""
    said: str = ""
    now_ms: int = 0
    keys: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._layout(options.max_width, options.height or console.height, options.ascii_only)

    def _layout(self, width: int, height: int, ascii_only: bool) -> Layout:
        page = Layout()
        head = Layout(self._head(width), size=2)
        keys = Layout(self._keys(), size=1)
        if self.status is None:
            page.split_column(head, Layout(Text(" ")), keys)
            return page
        status = self.status
        curve = _Fitted("Events per minute", lambda w, h: _curve(status, w, h, ascii_only))
        day = _Fitted("Last 24 h (24 h before)", lambda w, h: _glance(status.glance))
        depth = _Fitted("Outbox", lambda w, h: _outbox(status.depth, self.now_ms, w, ascii_only))
        roads = _Fitted("Connection", lambda w, h: _links(status.links, self.now_ms, h))
        passing = _Fitted("Live events", lambda w, h: _events(self.passing, h))
        users = _Fitted(_users_title(status), lambda w, h: _users(status, self.now_ms, h))
        facts = Layout(_facts(status), size=1)
        body = Layout()
        if width >= WIDE:
            body.split_row(
                _column(curve, passing, ratio=5),
                _column(day, depth, ratio=3),
                _column(roads, users, ratio=4),
            )
        else:
            body.split_column(
                _row(7, (curve, 5), (day, 4)),
                _row(5, (depth, 1), (roads, 1)),
                _row(None, (passing, 3), (users, 2)),
            )
        page.split_column(head, body, facts, keys)
        return page

    def _head(self, width: int) -> Text:
        if self.gone:
            last = f" Last seen: {visible(self.status.sentence.text)}" if self.status else ""
            return Text(f"{visible(self.gone)}. Waiting for the agent.{last}", style="bold red")
        if self.status is None:
            return Text("Looking for the agent …", style=QUIET)
        sentence = self.status.sentence
        text = Text(visible(sentence.text, 2 * width) or " ", style=LOOK[sentence.state])
        # Few lines fit here: who asks to be let in comes before what may wait to be read.
        for notice in sorted(self.status.notices, key=lambda one: one.code != "apps.pending"):
            if notice.text not in sentence.text:
                text.append(f" {visible(notice.text)}", style=QUIET)
        return text

    def _keys(self) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        if self.keys:
            paused = self.status is not None and self.status.pause is not None
            for key, does in (
                ("q", "quit"),
                ("p", "pause sending"),
                ("r", "resume" if paused else "retry"),
            ):
                line.append(f" {key} ", style="reverse")
                line.append(f" {does}  ")
        status = self.status
        offered = status is not None and status.keeping == "offered"
        if status is not None and status.sentence.code == "do_not_track":
            offered = False  # a far end of one's own would get nothing either
        hint = "`homing keep-here` keeps events on this computer" if offered else " "
        line.append(visible(self.said) or hint)  # an empty text would be drawn as a placeholder
        return line


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A titled frame whose content is made for the room that it is given."""

    title: str
    lines: Callable[[int, int], Iterable[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width - 4, (options.height or 5) - 2
        content = Text("\n", end="").join(
            [_fit(line) for line in self.lines(width, height)][: max(0, height)]
        )
        content.no_wrap, content.overflow = True, "ellipsis"
        yield Panel(
            content,
            title=Text(self.title),
            title_align="left",
            border_style=QUIET,
            height=options.height,
        )


def _fit(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _column(*parts: _Fitted, ratio: int) -> Layout:
    column = Layout(ratio=ratio)
    column.split_column(*(Layout(part) for part in parts))
    return column


def _row(height: int | None, *parts: tuple[_Fitted, int]) -> Layout:
    row = Layout(size=height) if height else Layout(minimum_size=4)
    row.split_row(*(Layout(part, ratio=ratio) for part, ratio in parts))
    return row


def _curve(status: Status, width: int, height: int, ascii_only: bool) -> list[Text]:
    """Draw what was accepted above what was delivered, to one scale."""
    accepted = [minute.accepted for minute in status.minutes]
    delivered = [minute.delivered for minute in status.minutes]
    if not accepted:
        return [Text("no minute is over yet", style=QUIET)]
    each = max(1, (height - 1) // 2)
    top = max(*accepted, *delivered)
    minutes = min(len(accepted), width)
    lines = [
        Text.assemble(
            (f"accepted {count(accepted[-1])}", "cyan"),
            "  ",
            (f"delivered {count(delivered[-1])}", "green"),
            (f"  top {count(top)}, {minutes} min", QUIET),
        )
    ]
    for values, look in ((accepted, "cyan"), (delivered, "green")):
        # one scale for both: the greatest of either stands left of what is drawn, unseen
        rows = bars(
            [top, *values[-width:]], min(len(values), width) + 1, each, ascii_only=ascii_only
        )
        lines.extend(Text(row[1:], style=look) for row in rows)
    return lines


def _glance(glance: Glance | None) -> list[Text]:
    if glance is None:
        return [Text("nothing told yet", style=QUIET)]
    lines = []
    for label, now, before in (
        ("App starts", glance.app_starts, glance.previous_app_starts),
        ("Errors", glance.errors, glance.previous_errors),
        ("Events", glance.events, glance.previous_events),
        ("Users", glance.users, glance.previous_users),
        ("Installs", glance.installs, glance.previous_installs),
    ):
        if now is None:
            continue
        line = Text(f"{label:<11}{count(now):>7}")
        if before is not None:
            line.append(f"  {difference(now, before)}", style=QUIET)
        lines.append(line)
    return lines


def difference(now: int, before: int) -> str:
    """Return how a number changed: ``+3 (+33 %)``, ``−1 (−50 %)``, ``same``."""
    change = now - before
    if change == 0:
        return "same"
    sign = "+" if change > 0 else "−"
    share = f" ({sign}{abs(change) / before:.0%})".replace("%", " %") if before else ""
    return f"{sign}{count(abs(change))}{share}"


def _outbox(depth: Depth, now_ms: int, width: int, ascii_only: bool) -> list[Text]:
    waiting = f"{count(depth.events)} waiting, {size(depth.bytes)}"
    if depth.oldest_ms is not None:
        waiting += f", oldest {span((now_ms - depth.oldest_ms) / 1000)}"
    lines = [Text(waiting)]
    if depth.max_bytes:
        share = depth.bytes / depth.max_bytes
        label = f" {share:.0%} of {size(depth.max_bytes)}".replace("%", " %", 1)
        bar = gauge(share, max(4, width - len(label)), ascii_only=ascii_only)
        lines.append(Text.assemble((bar, "red" if share > 0.8 else "cyan"), label))
    forecast = "steady"
    if depth.full_in_s is not None:
        forecast = f"full in {span(depth.full_in_s)}"
    elif depth.drained_in_s is not None:
        forecast = f"empty in {span(depth.drained_in_s)}"
    dead = f", {count(depth.dead)} refused" if depth.dead else ""
    lines.append(Text(forecast + dead, style="yellow" if depth.full_in_s is not None else ""))
    return lines


def _links(links: Sequence[LinkStatus], now_ms: int, height: int) -> list[Text]:
    if not links:
        return [Text("no far end yet", style=QUIET)]
    each = 3 if len(links) * 3 <= max(3, height) else 1
    worst_first = sorted(links, key=lambda link: LINK_ORDER.get(link.state, 0))
    return [line for link in worst_first for line in _link(link, links, now_ms)[:each]]


def _link(link: LinkStatus, links: Sequence[LinkStatus], now_ms: int) -> list[Text]:
    several = sum(other.app_id == link.app_id for other in links) > 1
    name = f"{visible(link.upstream, 40)} " if several and link.upstream else ""
    first = Text.assemble(
        (link.state, LINK_LOOK.get(link.state, "")),
        f" {span((now_ms - link.since_ms) / 1000)} " if link.since_ms else " ",
        (f"{visible(link.app_id, 40)} → {name}{visible(link.endpoint)}", QUIET),
    )
    latency = "no answer yet" if link.latency_ms is None else f"latency {link.latency_ms:.0f} ms"
    ack = ""
    if link.last_ack_ms is not None:
        ack = f", last ack {span((now_ms - link.last_ack_ms) / 1000)} ago"
    moved = f"sent {size(link.sent_bytes)}, received {size(link.received_bytes)}"
    why = link.reason or link.note
    second = Text(visible(why), style="yellow") if why else Text(latency + ack)
    return [first, second, Text(moved, style=QUIET)]


def _events(passing: Sequence[Passing], height: int) -> list[Text]:
    if not passing:
        return [Text("none passed since this view was opened", style=QUIET)]
    return [
        Text.assemble(
            (f"{datetime.fromtimestamp(event.at_ms / 1000).astimezone():%H:%M:%S} ", QUIET),
            (f"{visible(event.app_id, 24)} ", "cyan"),
            visible(event.name or f"({event.type})", 80),
            (f" {visible(event.payload, 120)}" if event.payload else "", QUIET),
        )
        for event in reversed(passing[-height:] if height > 0 else ())
    ]


def _users_title(status: Status) -> str:
    return "Live users" if status.live_count is None else f"Live users: {count(status.live_count)}"


def _users(status: Status, now_ms: int, height: int) -> list[Text]:
    if status.live_count is None:
        return [Text("the far end does not tell", style=QUIET)]
    if not status.live_users:
        return [Text("nobody just now" if status.live_count == 0 else "", style=QUIET)]
    lines = []
    for user in status.live_users[: max(0, height)]:
        who = visible(user.user_id or user.device_id, 40)
        told = (user.platform, user.os_version, user.country)
        where = " ".join(visible(part, 24) for part in told if part)
        seen = f" {span((now_ms - user.last_seen_ms) / 1000)} ago" if user.last_seen_ms else ""
        lines.append(Text.assemble(f"{who} ", (where + seen, QUIET)))
    return lines


def _facts(status: Status) -> Text:
    facts = status.facts
    if facts is None:
        return Text(f"homing {visible(status.version)}, pid {status.pid}", style=QUIET)
    parts = [
        f"{visible(facts.platform, 24)} {visible(facts.os_version, 24)}",
        visible(facts.arch, 12),
        f"{facts.total_ram} GB",
        visible(facts.language, 16),
        f"device {visible(facts.device_id, 24)}" if facts.device_id else "",
        f"key: {visible(facts.key_kept_in, 30)}" if facts.key_kept_in else "",
        f"homing {visible(status.version, 16)}",
    ]
    line = Text(" · ".join(part for part in parts if part.strip()), style=QUIET)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
