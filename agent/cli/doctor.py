"""`homing doctor`: findings with evidence and repair, from the agent or, without one, from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.shell import DEGRADED, NO_AGENT, OK, Shell
from agent.rules.wording import visible
from tracking.errors import AgentGone

if TYPE_CHECKING:
    import argparse

    from agent.cli.parser import Parser
    from agent.door import Check

MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `doctor`."""
    from agent.cli.parser import one_of

    parser.add_argument(
        "what",
        nargs="?",
        default="all",
        type=one_of("all", "network"),
        help="network: walk the way to each far end, hop by hop",
    )
    parser.app_option("with network: this app's far ends only")
    parser.json_option()
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, shell: Shell) -> int:
    if args.what == "network":
        from agent.cli.network import doctor_network

        return doctor_network(shell, args.app or "", as_json=args.json)
    return doctor(shell, as_json=args.json)


def doctor(shell: Shell, *, as_json: bool) -> int:
    """Print every finding; degraded if one is an error, 69 if no agent could be asked."""
    try:
        checks = shell.door().doctor()
        code = OK
    except AgentGone as gone:
        from agent.cli.local_checks import local_checks

        checks = (_no_agent(gone), *local_checks(shell.env))
        code = NO_AGENT
    if as_json:
        shell.json(checks)
    else:
        for check in checks:
            shell.say(f"{MARKS[check.verdict]}  {visible(check.title)}: {visible(check.evidence)}")
            if check.repair and check.verdict != "ok":
                shell.say(f"         {visible(check.repair)}")
    if code == OK and any(check.verdict == "error" for check in checks):
        return DEGRADED
    return code


def _no_agent(gone: AgentGone) -> Check:
    from agent.door import Check

    return Check(
        code=gone.code,
        title="Agent",
        verdict="error",
        evidence=str(gone),
        repair=gone.advice or "Start it with `homing`.",
    )
