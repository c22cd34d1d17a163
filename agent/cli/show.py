"""Commands that print facts and change nothing: `status` and `apps`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.cli.shell import DEGRADED, OK, Shell
from agent.cli.table import rows
from agent.rules.wording import count, events, size, span, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import AppStatus, Depth, LinkStatus, Status


def declare(name: str, parser: Parser) -> None:
    """Add the options of one of these commands."""
    parser.json_option()
    if name == "status":
        parser.set_defaults(run=lambda args, shell: status(shell, as_json=args.json))
    else:
        parser.set_defaults(run=lambda args, shell: apps(shell, as_json=args.json))


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
        _print_apps(snapshot.apps, shell)
    if snapshot.links:
        shell.say()
        _print_links(snapshot.links, now_ms, shell)
    shell.say()
    shell.say(f"outbox  {depth_words(snapshot.depth, now_ms)}")
    up = span((now_ms - snapshot.started_ms) / 1000)
    shell.say(f"agent   {snapshot.version}, pid {snapshot.pid}, up {up}, {snapshot.address}")


def apps(shell: Shell, *, as_json: bool) -> int:
    """Print the apps and their ledgers; degraded if one does not balance."""
    known = shell.door().status().apps
    if as_json:
        shell.json(known)
    elif known:
        _print_apps(known, shell)
        for app in known:
            shell.say()
            shell.say(f"{visible(app.app_id)}: {app.consent} by {visible(app.consent_from)}")
            for line in _app_details(app):
                shell.say(f"  {line}")
    else:
        shell.say("No app has reported yet. Try `homing send hello --app NAME`.")
    return OK if all(app.balanced for app in known) else DEGRADED


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


def _print_apps(known: Sequence[AppStatus], shell: Shell) -> None:
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


def _app_details(app: AppStatus) -> list[str]:
    lines = [f"name {visible(app.name)}"] if app.name and app.name != app.app_id else []
    if app.lost:
        told = ", ".join(f"{visible(why)} {count(n)}" for why, n in app.lost.items())
        lines.append(f"lost: {told}")
    for number, words in (
        (app.repeats, "recognised as already accepted"),
        (app.refused, "answered with an error"),
        (app.knocks, "requests before anyone allowed it"),
    ):
        if number:
            lines.append(f"{count(number)} {words}")
    return lines


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
            span((now_ms - link.since_ms) / 1000),
            "" if link.latency_ms is None else f"{link.latency_ms:.0f} ms",
            "" if link.last_ack_ms is None else f"{span((now_ms - link.last_ack_ms) / 1000)} ago",
            link.reason,
        )
        for link in links
    )
    for line in rows(head, body):
        shell.say(line)
