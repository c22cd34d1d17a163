"""`homing reconcile`: does the far end have what it confirmed?

Asks now, says it in a sentence, and names the hours in which both ends do not agree. What is
missing there cannot be sent again: an event is deleted here with its confirmation. So it is said
what can be done instead.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent.cli.shell import DEGRADED, OK, Shell
from agent.cli.table import clock, rows
from agent.door.reconciliation import ReadReconciliation, Reconcile
from agent.rules.wording import count, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door.reconciliation import Reconciled

LOST = """\
They cannot be sent again: an event is deleted here when the far end confirms it. What was sent may
still be in the record of the wire: `homing wire --search ID`, `homing data export FILE`. Show the
hours to whoever runs the far end: a restored backup or a removed device explains them."""


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `reconcile`."""
    parser.app_option("this app only")
    parser.add_argument("--last", action="store_true", help="what was found last, without asking")
    parser.json_option()
    parser.set_defaults(run=reconcile)


def reconcile(args: argparse.Namespace, shell: Shell) -> int:
    """Compare, and say what was found; degraded if something is missing or could not be asked."""
    door = shell.door()
    asked = ReadReconciliation() if args.last else Reconcile(app_id=args.app)
    ways = door.ask(asked).ways
    ways = tuple(way for way in ways if args.app in (None, way.app_id))
    if args.json:
        shell.json(ways)
    else:
        for way in ways:
            _print(way, shell)
        if not ways:
            shell.say("No far end of an app can be compared: see docs/reconciliation.md.")
        elif any(way.verdict == "missing" for way in ways):
            shell.say(LOST)
    return DEGRADED if any(way.verdict in ("missing", "not asked") for way in ways) else OK


def _print(way: Reconciled, shell: Shell) -> None:
    name = visible(way.app_id, 60) + (f"/{visible(way.upstream, 60)}" if way.upstream else "")
    shell.say(f"{name}: {visible(way.text, 500)}")
    if way.reason:
        shell.say(f"  {visible(way.reason, 500)}")
    if way.since_ms is not None:
        shell.say(f"  compared from {clock(way.since_ms)} on, asked {clock(way.at_ms)}")
    if way.unbelieved:
        shell.say(f"  {count(way.unbelieved)} there have a date that was not believed")
    if way.hours:
        head = ("HOUR", "DEVICE", "CONFIRMED", "THERE", "")
        body = (
            (clock(one.hour_ms), one.device, count(one.ours), count(one.theirs), one.kind)
            for one in way.hours
        )
        for line in rows(head, body, right="  >>"):
            shell.say(f"  {line}")
