"""`homing status`: facts, and nothing changed; and the tables that other commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.cli.shell import DEGRADED, OK, Shell
from agent.cli.table import rows
from agent.rules.wording import count, events, size, span, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import AppStatus, Depth, LinkStatus, Status


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `status`."""
    parser.json_option()
    parser.set_defaults(run=lambda args, shell: status(shell, as_json=args.json))


def status(shell: Shell, *, as_json: bool) -> int:
    """Print how things are: the sentence first, then the tables it rests on."""
    snapshot = shell.door().status()
    if as_json:
        shell.json(snapshot)
    else:
        _print_status(snapshot, shell)
    return OK if snapshot.sentence.state == "live" else DEGRADED


def _print_status(snapshot: Status, shell: Shell) -> None:
    now_ms = snapshot.at_ms
    shell.say(visible(snapshot.sentence.text, 500))
    untracked = snapshot.sentence.code == "do_not_track"  # then a far end here gets nothing either
    if snapshot.keeping == "offered" and not untracked:
        shell.say("`homing keep-here` keeps events on this computer.")
    for notice in snapshot.notices:
        if notice.text not in snapshot.sentence.text:
            since = span((now_ms - notice.since_ms) / 1000)
            shell.say(f"{notice.severity}: {visible(notice.text, 500).rstrip('.')} (for {since})")
    if snapshot.apps:
        shell.say()
        print_apps(snapshot.apps, shell)
    if snapshot.links:
        shell.say()
        _print_links(snapshot.links, now_ms, shell)
    shell.say()
    shell.say(f"outbox  {depth_words(snapshot.depth, now_ms)}")
    up = span((now_ms - snapshot.started_ms) / 1000)
    shell.say(f"agent   {snapshot.version}, pid {snapshot.pid}, up {up}, {snapshot.address}")


def depth_words(depth: Depth, now_ms: int) -> str:
    """Say how full the outbox is and where that leads."""
    parts = [events(depth.events)]
    if depth.max_bytes:
        share = 100 * depth.bytes / depth.max_bytes
        parts.append(f"{size(depth.bytes)} of {size(depth.max_bytes)} ({share:.0f} %)")
    if depth.oldest_ms is not None:
        parts.append(f"oldest {span((now_ms - depth.oldest_ms) / 1000)}")
    if depth.full_in_s is not None:
        parts.append(f"full in {span(depth.full_in_s)} at this rate")
    if depth.drained_in_s is not None:
        parts.append(f"empty in {span(depth.drained_in_s)}")
    if depth.dead:
        parts.append(f"{count(depth.dead)} refused for good (`homing outbox list --dead`)")
    return ", ".join(parts)


def print_apps(known: Sequence[AppStatus], shell: Shell) -> None:
    """Print the apps with their ledgers."""
    head = ("APP", "CONSENT", "ACCEPTED", "DELIVERED", "PENDING", "DEAD", "LOST", "LEDGER")
    body = (
        (
            app.app_id,
            app.consent,
            count(app.accepted),
            count(app.delivered),
            count(app.pending),
            count(app.dead),
            count(sum(app.lost.values())),
            "balanced" if app.balanced else "DOES NOT BALANCE",
        )
        for app in known
    )
    for line in rows(head, body, right="  >>>>>"):
        shell.say(line)
    if upstreams := _upstream_lines(known):
        shell.say()
        head = ("APP", "UPSTREAM", *head[2:])
        for line in rows(head, upstreams, right="  >>>>>"):
            shell.say(line)


def _upstream_lines(known: Sequence[AppStatus]) -> list[tuple[str, ...]]:
    """Return what each upstream has, for apps where there is more to say than the app's line."""
    return [
        (
            app.app_id,
            upstream.name if upstream.declared else f"{upstream.name} (forgotten)",
            count(upstream.accepted),
            count(upstream.delivered),
            count(upstream.pending),
            count(upstream.dead),
            count(sum(upstream.lost.values())),
            "balanced" if upstream.balanced else "DOES NOT BALANCE",
        )
        for app in known
        if len(app.upstreams) > 1
        for upstream in app.upstreams
    ]


def _far_end(link: LinkStatus, links: Sequence[LinkStatus]) -> str:
    """Name a far end; by its upstream's name too, where its app has several."""
    several = sum(other.app_id == link.app_id for other in links) > 1
    return f"{link.upstream}: {link.endpoint}" if several and link.upstream else link.endpoint


def _print_links(links: Sequence[LinkStatus], now_ms: int, shell: Shell) -> None:
    head = ("APP", "FAR END", "LINK", "FOR", "LATENCY", "LAST ACK", "WHY")
    body = (
        (
            link.app_id,
            _far_end(link, links),
            link.state,
            span((now_ms - link.since_ms) / 1000) if link.since_ms else "",
            "" if link.latency_ms is None else f"{link.latency_ms:.0f} ms",
            "" if link.last_ack_ms is None else f"{span((now_ms - link.last_ack_ms) / 1000)} ago",
            link.reason or link.note,
        )
        for link in links
    )
    for line in rows(head, body):
        shell.say(line)
    for link in links:
        if link.confirmed:
            several = sum(other.app_id == link.app_id for other in links) > 1
            name = f"{link.app_id}/{link.upstream}" if several else link.app_id
            shell.say(f"{visible(name, 120)}: {visible(link.confirmed, 500)}")
