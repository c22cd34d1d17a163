"""`homing upstreams`: where each app's events go, the dual run, and what was left behind.

``switch`` edits homing.toml, which an agent reads when it starts; everything else is asked of the
running one. Nothing is deleted or changed without a yes.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent.cli.outbox import confirmed
from agent.cli.parser import at_least_one, one_of, text
from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.cli.table import rows
from agent.door.upstreams import CompareUpstreams, DropUpstream, MoveUpstream
from agent.rules.wording import count, events, span, visible
from tracking.errors import AgentGone

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import AppStatus, LinkStatus, Status, UpstreamStatus
    from agent.door.upstreams import Comparison, Emptied

TAKES = {
    "list": (),
    "compare": ("APP",),
    "switch": ("APP",),
    "drop": ("APP", "NAME"),
    "move": ("APP", "NAME"),
    "key": ("APP", "NAME"),
    "forget-key": ("APP", "NAME"),
}  #: Action → the words behind it.
NEED_TO = ("switch", "move")


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `upstreams`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        type=one_of(*TAKES),
        help="list (default), compare APP, switch APP, drop APP NAME, move APP NAME,"
        " key APP NAME, forget-key APP NAME",
    )
    parser.add_argument("words", nargs="*", metavar="APP NAME", type=text, help="of an action")
    parser.add_argument("--to", metavar="OTHER", type=text, help="switch, move: to which upstream")
    parser.add_argument(
        "--days", metavar="N", type=at_least_one, default=7, help="compare: so many days (7)"
    )
    parser.add_argument("--yes", action="store_true", help="switch, drop: without asking")
    parser.json_option()
    parser.set_defaults(run=upstreams)


def upstreams(args: argparse.Namespace, shell: Shell) -> int:
    """Carry out one action on upstreams."""
    wanted = TAKES[args.action]
    if len(args.words) != len(wanted) or (args.to is not None) != (args.action in NEED_TO):
        form = " ".join(wanted) + (" --to OTHER" if args.action in NEED_TO else "")
        raise UsageFault(
            f"`homing upstreams {args.action}` takes {form or 'nothing more'}",
            advice="See `homing upstreams --help`.",
        )
    match args.action:
        case "list":
            return _list(shell, as_json=args.json)
        case "compare":
            return _compare(args.words[0], args.days, shell, as_json=args.json)
        case "switch":
            return _switch(args, shell)
        case "drop":
            return _drop(args, shell)
        case "key" | "forget-key":
            from agent.cli.upstream_key import change

            return change(args, shell)
    return _move(args, shell)


def _list(shell: Shell, *, as_json: bool) -> int:
    status = shell.door().status()
    links = {(link.app_id, link.upstream): link for link in status.links}
    if as_json:
        shell.json([_facts(app, links) for app in status.apps if app.upstreams])
    else:
        _print(status, links, shell)
    well = all(
        one.balanced and one.declared and _state(app, one, links) in ("live", "idle", "")
        for app in status.apps
        for one in app.upstreams
    )
    return OK if well else DEGRADED


def _links_of(
    app: AppStatus, one: UpstreamStatus, links: dict[tuple[str, str], LinkStatus]
) -> list[LinkStatus]:
    if not one.declared:
        return []
    return [
        link
        for (app_id, name), link in links.items()
        if app_id == app.app_id and (not one.name or name.partition(".")[0] == one.name)
    ]


def _state(app: AppStatus, one: UpstreamStatus, links: dict[tuple[str, str], LinkStatus]) -> str:
    """Return the worst state of an upstream's connections; empty if it has none."""
    order = ("parked", "waiting", "dialing", "live", "idle")
    states = [link.state for link in _links_of(app, one, links)]
    return min(states, key=order.index, default="")


def _facts(app: AppStatus, links: dict[tuple[str, str], LinkStatus]) -> dict[str, object]:
    return {
        "app_id": app.app_id,
        "upstreams": [
            {
                "upstream": one,
                "state": _state(app, one, links),
                "links": _links_of(app, one, links),
            }
            for one in app.upstreams
        ],
    }


def _print(status: Status, links: dict[tuple[str, str], LinkStatus], shell: Shell) -> None:
    table = []
    forgotten = []
    for app in status.apps:
        for one in app.upstreams:
            mine = _links_of(app, one, links)
            oldest = one.oldest_pending_ms
            table.append(
                (
                    app.app_id,
                    one.name or ("(this computer)" if mine else "(none yet)"),
                    one.kind,
                    _state(app, one, links) or ("-" if one.declared else "forgotten"),
                    count(one.delivered),
                    count(one.pending),
                    "" if oldest is None else span((status.at_ms - oldest) / 1000),
                    count(one.dead),
                    count(sum(one.lost.values())),
                    ", ".join(dict.fromkeys(link.endpoint for link in mine)),
                )
            )
            if not one.declared:
                forgotten.append((app.app_id, one))
    if not table:
        shell.say("No app has an upstream, or none has reported yet.")
        return
    head = ("APP", "UPSTREAM", "KIND", "LINK", "DELIVERED", "PENDING", "OLDEST", "DEAD", "LOST")
    for line in rows((*head, "FAR END"), table, right="    >>>>>"):
        shell.say(line)
    for link in status.links:
        if link.reason and link.state != "live":
            shell.say(f"{visible(link.app_id)} {visible(link.upstream)}: {visible(link.reason)}")
    for app_id, one in forgotten:
        name = f"{visible(app_id)} {visible(one.name)}"
        shell.say(
            f"{visible(one.name)} is not in homing.toml any more:"
            f" `homing upstreams move {name} --to OTHER` or `homing upstreams drop {name}`."
        )


def _compare(app_id: str, days: int, shell: Shell, *, as_json: bool) -> int:
    found = shell.door().ask(CompareUpstreams(app_id=app_id, days=days))
    if as_json:
        shell.json(found)
    else:
        _print_comparison(found, shell)
    return OK if any(one.safe for one in found.sums[1:]) else DEGRADED


def _print_comparison(found: Comparison, shell: Shell) -> None:
    if not found.sums:
        shell.say(
            f"There is nothing to compare: {visible(found.app_id)} has not had two upstreams yet."
        )
        return
    table = [
        (
            day.day,
            day.upstream,
            count(day.accepted),
            count(day.confirmed),
            count(day.dead),
            count(day.lost),
            count(day.waiting),
        )
        for day in found.days
    ]
    head = ("DAY", "UPSTREAM", "ACCEPTED", "CONFIRMED", "REFUSED", "LOST", "STILL WAITING")
    sums = [
        (
            "all",
            one.upstream,
            count(one.accepted),
            count(one.confirmed),
            count(one.dead),
            count(one.lost),
            count(one.waiting),
        )
        for one in found.sums
    ]
    for line in rows(head, [*table, *sums], right="  >>>>>"):
        shell.say(line)
    for one in found.sums:
        shell.say(f"{visible(one.upstream)}: {visible(one.why, 500)}")


def _switch(args: argparse.Namespace, shell: Shell) -> int:
    """Leave one upstream in the settings file, after saying what the dual run showed."""
    from agent.adapters.machine.places import Places
    from agent.settings.upstream_writing import keep_only

    app_id, file = args.words[0], Places.find(shell.env).settings_file
    if not args.yes:
        shell.err.write(f"{_advice(app_id, args.to, shell)}\n")
        if not confirmed(shell, f"Leave {args.to} as the only upstream of {app_id}? [y/N] "):
            shell.complain("nothing was changed")
            return DEGRADED
    gone = keep_only(file, app_id, args.to)
    if args.json:
        shell.json({"app_id": app_id, "upstream": args.to, "removed": gone, "file": str(file)})
        return OK
    shell.say(f"{args.to} is the only upstream of {app_id} in {file}.")
    shell.say("Start the agent again; what still waits for " + " and ".join(gone) + " is kept.")
    return OK


def _advice(app_id: str, name: str, shell: Shell) -> str:
    """Return what the dual run says about a switch."""
    try:
        sums = shell.door().ask(CompareUpstreams(app_id=app_id)).sums
    except AgentGone:
        return "No agent is running, so nothing is known of a dual run."
    return next(
        (visible(one.why, 500) for one in sums if one.upstream == name), "Nothing is known."
    )


def _drop(args: argparse.Namespace, shell: Shell) -> int:
    app_id, name = args.words
    door = shell.door()
    known = [
        one
        for app in door.status().apps
        if app.app_id == app_id
        for one in app.upstreams
        if not one.declared and name in (one.name, one.name.partition(".")[0])
    ]
    number = sum(one.pending + one.dead for one in known)
    question = f"Delete {events(number)} for good? They are then counted as lost. [y/N] "
    if known and not args.yes and not confirmed(shell, question):
        shell.complain("nothing was dropped")
        return DEGRADED
    return _emptied(door.ask(DropUpstream(app_id=app_id, name=name)), "dropped", args, shell)


def _move(args: argparse.Namespace, shell: Shell) -> int:
    app_id, name = args.words
    moved = shell.door().ask(MoveUpstream(app_id=app_id, name=name, to=args.to))
    return _emptied(moved, f"moved to {args.to}", args, shell)


def _emptied(done: Emptied, words: str, args: argparse.Namespace, shell: Shell) -> int:
    if args.json:
        shell.json(done)
    else:
        left = f" {events(done.left)} refused for good stay; drop them, too." if done.left else ""
        shell.say(f"{events(done.events)} {visible(words)}.{left}")
    return OK
