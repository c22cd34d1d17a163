"""`homing doctor`: findings with evidence and repair, from the agent or, without one, from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.shell import DEGRADED, NO_AGENT, OK, Shell
from agent.rules.wording import visible
from tracking.errors import AgentGone

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import Check

MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `doctor`."""
    parser.json_option()
    parser.set_defaults(run=lambda args, shell: doctor(shell, as_json=args.json))


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
