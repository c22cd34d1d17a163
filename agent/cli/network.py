"""`homing network`: whom the agent may contact, through what, and what waits."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agent.cli.parser import duration_s, one_of, text
from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.cli.table import rows
from agent.door.network import (
    ForgetProxyLogin,
    Host,
    Hosts,
    KeepProxyLogin,
    LoginKept,
    NetworkState,
    SendAnyway,
    ShowHosts,
    ShowNetwork,
    Walk,
    Walked,
    WalkNetwork,
)
from agent.rules.wording import visible
from tracking.errors import AgentGone

if TYPE_CHECKING:
    from agent.adapters.roads.atlas import Atlas
    from agent.adapters.roads.proxy_keys import ProxyKeys
    from agent.cli.parser import Parser
    from agent.settings import Settings

ACTIONS = ("show", "hosts", "proxy-login", "proxy-logout", "override")
MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  ", "skipped": "-      "}


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `network`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="show",
        type=one_of(*ACTIONS),
        help="show (default), hosts, proxy-login, proxy-logout, or override",
    )
    parser.add_argument("--user", metavar="NAME", type=text, help="of proxy-login; asked otherwise")
    parser.add_argument(
        "--proxy", metavar="HOST:PORT", type=text, default="", help="if it is not the one in use"
    )
    parser.add_argument(
        "--for",
        dest="for_s",
        metavar="TIME",
        type=duration_s,
        default=3600.0,
        help="of override: 30m, 1h (default), 2d",
    )
    parser.add_argument("--off", action="store_true", help="of override: end it")
    parser.json_option()
    parser.set_defaults(run=network)


def network(args: argparse.Namespace, shell: Shell) -> int:
    """Carry out one action."""
    match args.action:
        case "hosts":
            return _hosts(shell, as_json=args.json)
        case "proxy-login":
            return _login(args, shell)
        case "proxy-logout":
            return _logout(args, shell)
        case "override":
            state = shell.door().ask(SendAnyway(for_s=0.0 if args.off else args.for_s))
            return _tell_state(state, shell, as_json=args.json)
        case _:
            state = shell.door().ask(ShowNetwork())
            return _tell_state(state, shell, as_json=args.json)


def _hosts(shell: Shell, *, as_json: bool) -> int:
    """List whom the agent may contact; from the settings if none runs."""
    try:
        hosts = shell.door().ask(ShowHosts())
    except AgentGone:
        _, atlas, _ = _alone(shell)
        listed = atlas.contacts.rows() if atlas.contacts is not None else ()
        hosts = Hosts(
            hosts=tuple(Host(host=one.host, port=one.port, purpose=one.purpose) for one in listed)
        )
    if as_json:
        shell.json(hosts)
        return OK
    if not hosts.hosts:
        shell.say("No host: nothing leaves this computer.")
        return OK
    for line in rows(
        ("HOST", "PORT", "FOR"),
        ((visible(one.host), str(one.port), visible(one.purpose)) for one in hosts.hosts),
    ):
        shell.say(line)
    return OK


def _login(args: argparse.Namespace, shell: Shell) -> int:
    """Ask for a name and a password, and have them kept."""
    asked_by_terminal = shell.inward.isatty()
    user = args.user
    if user is None:
        if not asked_by_terminal:
            raise UsageFault(
                "whose login? There is no terminal to ask on",
                advice="As in: homing network proxy-login --user NAME <password-file",
            )
        shell.err.write("Name at the proxy: ")
        shell.err.flush()
        user = shell.inward.readline().strip()
    if asked_by_terminal:
        password = getpass.getpass(f"Password of {user}: ", shell.err)
    else:
        password = shell.inward.readline().rstrip("\r\n")
    try:
        kept = shell.door().ask(KeepProxyLogin(user=user, password=password, proxy=args.proxy))
    except AgentGone:
        kept = _keep_alone(args.proxy, user, password, shell)
    return _tell_login(kept, shell, as_json=args.json)


def _logout(args: argparse.Namespace, shell: Shell) -> int:
    try:
        gone = shell.door().ask(ForgetProxyLogin(proxy=args.proxy))
    except AgentGone:
        _, atlas, keys = _alone(shell)
        place = args.proxy or _one_place(shell, atlas)
        said = "" if keys.forget(place) else f"there was no login for {place}"
        gone = LoginKept(proxy=place, kept_in="", notice=said)
    return _tell_login(gone, shell, as_json=args.json)


def _keep_alone(proxy: str, user: str, password: str, shell: Shell) -> LoginKept:
    """Keep a login without an agent: in the keyring, or not at all."""
    from agent.adapters.roads.proxy_login import Login

    _, atlas, keys = _alone(shell)
    place = proxy or _one_place(shell, atlas)
    kept = keys.keep(place, Login(user, password))
    if kept.where != "keyring":
        raise UsageFault(
            "this session has no keyring, and no agent runs that could remember it",
            advice="Start the agent first, or name a file: network.proxy_login_file",
        )
    return LoginKept(proxy=place, kept_in=kept.where, notice=kept.notice)


def _one_place(shell: Shell, atlas: Atlas) -> str:
    """Return the proxy that the settings or the system name."""
    from agent.runtime.networks.network import first_place

    settings, _, _ = _alone(shell)
    place = first_place(settings, atlas)
    if not place:
        raise UsageFault(
            "no proxy is on the way to any far end",
            advice="Name it: homing network proxy-login --proxy host:port",
        )
    return place


def _alone(shell: Shell) -> tuple[Settings, Atlas, ProxyKeys]:
    """Return what an agent with these settings would go by."""
    from agent.adapters.machine.places import Places
    from agent.runtime.networks.network import atlas_of
    from agent.settings import load

    places = Places.find(shell.env)
    settings = load(places.settings_file, shell.env)
    atlas, keys = atlas_of(settings, places, shell.env)
    return settings, atlas, keys


def _tell_login(kept: LoginKept, shell: Shell, *, as_json: bool) -> int:
    if as_json:
        shell.json(kept)
    elif kept.kept_in:
        shell.say(f"The login for {visible(kept.proxy)} is kept in: {kept.kept_in}.")
    elif not kept.notice:
        shell.say(f"The login for {visible(kept.proxy)} is deleted.")
    if kept.notice and not as_json:
        shell.complain(visible(kept.notice))
    return DEGRADED if kept.notice and not kept.kept_in else OK


def _tell_state(state: NetworkState, shell: Shell, *, as_json: bool) -> int:
    if as_json:
        shell.json(state)
        return OK
    for line in rows(
        ("APP", "UPSTREAM", "FAR END", "BY", "LOGIN", "HELD"),
        (
            (
                one.app_id,
                one.upstream,
                visible(one.endpoint) or "-",
                visible(one.by),
                {None: "-", True: "yes", False: "no"}[one.login],
                f"{one.held:,}",
            )
            for one in state.ways
        ),
    ):
        shell.say(line)
    known = {None: "not known", True: "yes", False: "no"}
    battery = "none" if state.percent is None else f"{state.percent:.0f} %"
    mains = "" if state.plugged is None else f", on the mains: {known[state.plugged]}"
    shell.say(f"Metered: {known[state.metered]}. Battery: {battery}{mains}.")
    for cause in state.causes:
        shell.say(f"A large backlog waits: {CAUSES[cause]}.")
    if state.override_until_ms:
        shell.say("Everything is sent anyway for now; `homing network override --off` ends that.")
    return OK


CAUSES = {"metered": "the connection is metered", "battery": "the battery is low"}


def walked(shell: Shell, app_id: str) -> Walked:
    """Return every way out walked hop by hop, by the agent or, without one, from here."""
    try:
        return shell.door().ask(WalkNetwork(app_id=app_id))
    except AgentGone:
        from pathlib import Path

        from agent.runtime.networks.hops import walk_all
        from agent.runtime.networks.targets import declared

        settings, atlas, _ = _alone(shell)
        ca_file = Path(settings.link.ca_file) if settings.link.ca_file else None
        return Walked(walks=walk_all(declared(settings, app_id), atlas, ca_file))


def doctor_network(shell: Shell, app_id: str, *, as_json: bool) -> int:
    """Say of every way out which hop fails; degraded if one does."""
    found = walked(shell, app_id)
    if as_json:
        shell.json(found)
    elif not found.walks:
        shell.say("No app has a far end. Name one in homing.toml, or run `homing keep-here`.")
    else:
        for line in walk_lines(found.walks):
            shell.say(line)
    return DEGRADED if any(one.failed for one in found.walks) else OK


def walk_lines(walks: Sequence[Walk]) -> Iterator[str]:
    """Yield what a terminal shows of walks."""
    for one in walks:
        upstream = f" ({one.upstream})" if one.upstream and one.upstream != one.app_id else ""
        yield f"{one.app_id}{upstream}: {visible(one.endpoint) or 'no far end'}"
        for hop in one.hops:
            took = f"  {hop.took_ms:.0f} ms" if hop.took_ms >= 1 else ""
            yield f"  {MARKS[hop.verdict]} {hop.name:<16}{visible(hop.evidence)}{took}"
            if hop.repair and hop.verdict in ("error", "warning"):
                yield f"  {'':<24}{visible(hop.repair)}"
        yield f"  The first hop that fails: {one.failed}" if one.failed else "  Every hop is well."
