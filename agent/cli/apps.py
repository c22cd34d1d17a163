"""`homing apps`: who reports here, who asks to, and what a person answers (docs/consent.md).

*Pausing an app* drops what it reports meanwhile, and `homing pause` keeps it: neither command
prints the other's words.
"""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.cli import gateway
from agent.cli.outbox import confirmed
from agent.cli.parser import LONGEST_PAUSE_S, duration_s, one_of, text
from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.cli.show import print_apps
from agent.cli.table import clock
from agent.door.apps import (
    AllowApp,
    AppConsent,
    DenyApp,
    ForgetAnswer,
    Outcome,
    PauseApp,
    ResumeApp,
    ShowConsent,
)
from agent.door.your_data import DeleteData
from agent.rules.wording import count, events, span, visible
from tracking.errors import RequestFault

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import AppStatus

ACTIONS = (
    "list",
    "show",
    "allow",
    "deny",
    "pause",
    "resume",
    "forget",
    "token",
    "tokens",
    "revoke",
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `apps`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        type=one_of(*ACTIONS),
        help="list (default), show, allow, deny, pause, resume, forget; token, tokens and revoke"
        " for the gateway",
    )
    parser.add_argument("app", nargs="?", metavar="ID", type=text, help="the app")
    parser.add_argument(
        "token", nargs="?", metavar="TOKEN", type=text, help="revoke: its beginning"
    )
    parser.add_argument("--all", action="store_true", help="pause, resume: every app")
    end = parser.add_mutually_exclusive_group()
    end.add_argument(
        "--for", dest="for_s", metavar="TIME", type=duration_s, help="deny, pause: 30m, 2h, 1d"
    )
    end.add_argument(
        "--until", metavar="WHEN", type=until_s, help="deny, pause: 18:00, 2026-12-24, or both"
    )
    parser.add_argument(
        "--reason", metavar="TEXT", type=text, default="", help="deny, pause: shown beside it"
    )
    parser.add_argument("--name", metavar="NAME", type=text, default="", help="allow: call it so")
    parser.add_argument(
        "--declare", action="store_true", help="allow: write it into homing.toml as well"
    )
    parser.add_argument(
        "--keep", action="store_true", help="deny: leave what waits on this disk, unsent"
    )
    parser.add_argument(
        "--remote", action="store_true", help="deny: ask its far ends to delete what they have, too"
    )
    parser.add_argument(
        "--new",
        action="store_true",
        help="allow, deny, token: it was not here yet; no typing error",
    )
    parser.add_argument("--yes", action="store_true", help="deny: do not ask before deleting")
    gateway.add_options(parser)
    parser.json_option()
    parser.set_defaults(run=apps)


def apps(args: argparse.Namespace, shell: Shell) -> int:
    """Carry out one action."""
    _check(args)
    match args.action:
        case "list":
            return _list(shell, as_json=args.json)
        case "show":
            return _show(shell.door().ask(ShowConsent(app_id=args.app)), shell, as_json=args.json)
        case "token":
            return gateway.give_token(args, shell)
        case "tokens":
            return gateway.list_tokens(shell, args.app, as_json=args.json)
        case "revoke":
            return gateway.revoke_tokens(shell, args.app, args.token, as_json=args.json)
        case "allow":
            return _allow(args, shell)
        case "deny":
            return _deny(args, shell)
    app_id = None if args.all else args.app
    for_s = args.until if args.until is not None else args.for_s
    if args.action == "pause":
        done = shell.door().ask(PauseApp(app_id=app_id, reason=args.reason, for_s=for_s))
    elif args.action == "resume":
        done = shell.door().ask(ResumeApp(app_id=app_id))
    else:
        done = shell.door().ask(ForgetAnswer(app_id=args.app))
    return _tell(done, shell, as_json=args.json)


def _check(args: argparse.Namespace) -> None:
    """Refuse what would be silently ignored, and what names nobody."""
    word = args.action
    if args.all and (args.app or word not in ("pause", "resume")):
        raise UsageFault("--all is for `apps pause` and `apps resume`, instead of an ID")
    if not args.all and args.app is None and word not in ("list", "tokens"):
        both = " or --all" if word in ("pause", "resume") else ""
        raise UsageFault(f"`homing apps {word}` takes an ID{both}", advice="See `homing apps`.")
    if args.app is not None and word == "list":
        raise UsageFault(
            "`homing apps list` takes no ID", advice=f"One app: homing apps show {args.app}"
        )
    for option, given, words in (
        ("--for and --until", args.for_s or args.until, ("deny", "pause")),
        ("--reason", args.reason, ("deny", "pause")),
        ("--name", args.name, ("allow",)),
        ("--declare", args.declare, ("allow",)),
        ("--keep", args.keep, ("deny",)),
        ("--yes", args.yes, ("deny",)),
        ("--remote", args.remote, ("deny",)),
        ("--new", args.new, ("allow", "deny", "token")),
        ("a second word", args.token, ("revoke",)),
        ("--gateway", args.gateway, ("token",)),
        ("--origin", args.origin, ("token",)),
    ):
        if given and word not in words:
            raise UsageFault(f"{option} is for `homing apps {'` and `'.join(words)}`")


def _list(shell: Shell, *, as_json: bool) -> int:
    """Print who asks, then the apps and their ledgers; degraded if one does not balance."""
    status = shell.door().status()
    if as_json:
        shell.json(status.apps)
        return OK if all(app.balanced for app in status.apps) else DEGRADED
    now_ms = status.at_ms
    every = status.every_app
    if every is not None:
        why = f" ({visible(every.reason)})" if every.reason else ""
        shell.say(f"All apps are {every.consent} by {visible(every.consent_from)}{why}.")
    asking = [app for app in status.apps if app.asking]
    for app in asking:
        shell.say(f"{visible(app.app_id)} wants to report through this computer.")
        shell.say(f"  {_knocked(app, now_ms)}")
        shell.say(f"  homing apps allow {app.app_id}    or    homing apps deny {app.app_id}")
    rest = [app for app in status.apps if not app.asking]
    if rest:
        if asking or every is not None:
            shell.say()
        print_apps(rest, shell)
        for app in rest:
            shell.say()
            shell.say(f"{visible(app.app_id)}: {_consent_words(app, now_ms)}")
            for line in _details(app):
                shell.say(f"  {line}")
    elif not asking:
        shell.say("No app has reported yet. Try `homing send hello --app NAME`.")
    return OK if all(app.balanced for app in status.apps) else DEGRADED


def _show(app: AppConsent, shell: Shell, *, as_json: bool) -> int:
    if as_json:
        shell.json(app)
    else:
        _print(app, shell)
    return OK


def _print(app: AppConsent, shell: Shell) -> None:
    """Print what is to be said of one app."""
    name = f" ({visible(app.name)})" if app.name != app.app_id else ""
    shell.say(f"{visible(app.app_id)}{name}: {_ruling_words(app)}")
    if app.knocks:
        by = visible(app.executable, 300) or "a program that the system does not name"
        pid = f", pid {app.pid}" if app.pid else ""
        shell.say(f"  knocked {_times(app.knocks)}, offered {events(app.offered)}: {by}{pid}")
    if app.declared:
        shell.say("  declared in homing.toml")
    if app.consent == "allowed":
        where = ", ".join(visible(place) for place in app.far_ends)
        shell.say(f"  goes to {where}" if where else "  has no far end yet: its events wait here")
    for number, words in (
        (app.waiting, "waiting on this disk"),
        (app.dead, "refused for good by its far end"),
        (app.dropped, "dropped since the agent started"),
    ):
        if number:
            shell.say(f"  {events(number)} {words}")


def _allow(args: argparse.Namespace, shell: Shell) -> int:
    done = shell.door().ask(AllowApp(app_id=args.app, name=args.name, new=args.new))
    code = _tell(done, shell, as_json=args.json)
    if args.declare:
        _declare(args.app, args.app if done.app is None else done.app.name, args, shell)
    return code


def _declare(app_id: str, name: str, args: argparse.Namespace, shell: Shell) -> None:
    """Write an allowed app into the settings file, and say what that means."""
    from agent.adapters.machine.places import Places
    from agent.settings.app_writing import declare_app

    path = Places.find(shell.env).settings_file
    told = declare_app(path, app_id, name)
    if args.json:
        return
    if not told.new:
        shell.say(f"{path} declared it before.")
        return
    where = "without a far end" if told.upstream is None else f"with {told.upstream.endpoint}"
    shell.say(f"Written into {path}, {where}. Your answer holds without it as well.")


def _deny(args: argparse.Namespace, shell: Shell) -> int:
    remote = args.remote
    if not (args.keep or args.yes):
        remote = _ask_before_deleting(args, shell)
    asked = None
    if remote:  # before the denial: afterwards nobody here knows by what names to ask
        asked = shell.door().ask(DeleteData(app_id=args.app, remote=True, local=False))
    for_s = args.until if args.until is not None else args.for_s
    done = shell.door().ask(
        DenyApp(app_id=args.app, reason=args.reason, for_s=for_s, keep=args.keep, new=args.new)
    )
    code = _tell(done, shell, as_json=args.json)
    if asked is not None and not args.json:
        for one in asked.requests:
            shell.say(f"Asked {visible(one.origin)} to delete what it has: {one.state}.")
        for place in asked.not_asked:
            shell.say(f"Not asked: {visible(place.upstream)}, {visible(place.why_not)}.")
        if not (asked.requests or asked.not_asked):
            shell.say("It has no far end that could be asked to delete anything.")
    return code


def _ask_before_deleting(args: argparse.Namespace, shell: Shell) -> bool:
    """Ask, unless the app never had a chance to leave anything; tell whether to ask far ends too.

    Raises:
        UsageFault: The person said no, or nobody can be asked.

    """
    try:
        app = shell.door().ask(ShowConsent(app_id=args.app))
    except RequestFault:
        if args.new:
            return False
        raise
    if app.consent == "pending" and not app.waiting + app.dead:
        return False
    lost = f" {events(app.waiting)} not delivered yet will be lost." if app.waiting else ""
    question = f"Delete all that is kept of {visible(app.app_id)} on this computer?{lost} [y/N] "
    if not confirmed(shell, question):
        raise UsageFault("nothing was changed", advice="--keep denies without deleting.")
    if args.remote or not app.far_ends:
        return bool(args.remote)
    where = visible(app.far_ends[0])
    return confirmed(shell, f"Ask {where} to delete what it already has, too? [y/N] ")


def _tell(done: Outcome, shell: Shell, *, as_json: bool) -> int:
    """Print what an answer led to; degraded if it is not on disk, or not all could be deleted."""
    code = DEGRADED if done.unpurged or done.unkept else OK
    if as_json:
        shell.json(done)
        return code
    if done.app is not None:
        _print(done.app, shell)
    elif done.every_app is None:
        shell.say("No pause of all apps is in force; each does what you said of it.")
    else:
        end = done.every_app.until_ms
        until = "until you resume them" if end is None else f"until {clock(end)}"
        shell.say(f"All apps are paused {until}. What they report meanwhile is dropped, not kept.")
    if done.app is not None and done.app.consent in ("denied", "paused"):
        shell.say("What it reports is acknowledged and dropped, not kept.")
    if done.purged:
        shell.say(f"Deleted {events(done.purged)} that waited here.")
    if done.note:
        shell.say(visible(done.note, 500))
    later = "" if done.unkept else "It is tried again at the agent's next start."
    for what in done.unpurged:
        shell.complain(f"could not be deleted yet: {visible(what, 500)}", later)
    if done.unkept:
        shell.complain(
            "your answer is not on the disk, it holds until the agent stops:"
            f" {visible(done.unkept, 500)}",
            "Leave the agent running, see to that, then give your answer again.",
        )
    return code


def _ruling_words(app: AppConsent) -> str:
    words = f"{app.consent} by {visible(app.consent_from)}"
    if app.consent == "pending":
        words = "pending, " + visible(app.consent_from)
    if app.reason:
        words += f" ({visible(app.reason)})"
    if app.since_ms is not None:
        words += f", since {clock(app.since_ms)}"
    if app.until_ms is not None:
        words += f", until {clock(app.until_ms)}, then {app.then}"
    return words


def _consent_words(app: AppStatus, now_ms: int) -> str:
    words = f"{app.consent} by {visible(app.consent_from)}"
    if app.consent == "pending":
        words = "pending, " + visible(app.consent_from)
    if app.consent_reason:
        words += f" ({visible(app.consent_reason)})"
    if app.consent_until_ms is not None:
        words += f", {span((app.consent_until_ms - now_ms) / 1000)} more"
    return words


def _knocked(app: AppStatus, now_ms: int) -> str:
    by = visible(app.executable, 300) or "A program that the system does not name"
    pid = f" (pid {app.pid})" if app.pid else ""
    since = "" if app.first_knock_ms is None else span((now_ms - app.first_knock_ms) / 1000)
    return (
        f"{by}{pid} knocked {_times(app.knocks)} in {since or '0 s'}, offered {events(app.offered)}"
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{count(number)} times"


def _details(app: AppStatus) -> list[str]:
    lines = [f"name {visible(app.name)}"] if app.name and app.name != app.app_id else []
    if app.lost:
        told = ", ".join(f"{visible(why)} {count(n)}" for why, n in app.lost.items())
        lines.append(f"lost: {told}")
    for number, words in (
        (app.repeats, "recognised as already accepted"),
        (app.refused, "answered with an error"),
        (app.over_quota, f"over its quota of {count(round(app.allowed_per_s))} per second"),
        (app.marks, f"mark{'s' * (app.marks != 1)} in its events (`homing lint`)"),
        (app.dropped, "dropped since the agent started"),
        (app.knocks, f"request{'s' * (app.knocks != 1)} before anyone allowed it"),
    ):
        if number:
            lines.append(f"{count(number)} {words}")
    return lines


def until_s(word: str) -> float:
    """Read ``18:00``, ``2026-12-24`` or ``2026-12-24 18:00`` as seconds from now."""
    now = datetime.fromtimestamp(time.time()).astimezone()
    try:
        if found := _CLOCK.fullmatch(word):
            then = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
            then += timedelta(days=1) if then <= now else timedelta()
        else:
            then = datetime.fromisoformat(word)
            then = then if then.tzinfo else then.astimezone()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{word!r} is no moment like 18:00 or 2026-12-24"
        ) from None
    seconds = (then - now).total_seconds()
    if not 0 < seconds <= LONGEST_PAUSE_S:
        raise argparse.ArgumentTypeError(f"{word!r} is not within the next 366 days")
    return seconds
