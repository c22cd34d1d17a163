"""Commands that tell the agent what to do: `pause`, `resume`, `retry`, `keep-here`, `stop`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.adapters.machine.lock import is_held, read_holder
from agent.adapters.machine.places import Places
from agent.cli.shell import DEGRADED, OK, Shell
from agent.rules.wording import visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser
    from agent.door import Status


STOPPING_S = 15.0  #: How long an agent may take to write what is owed, and end.


def declare(name: str, parser: Parser) -> None:
    """Add the options of one of these commands."""
    match name:
        case "pause":
            from agent.cli.parser import duration_s, text

            parser.add_argument(
                "--for",
                dest="for_s",
                metavar="TIME",
                type=duration_s,
                help="30m, 1h, 1h30m, 2d; without it, until `homing resume`",
            )
            parser.add_argument(
                "--reason",
                metavar="TEXT",
                type=text,
                default="you asked",
                help="shown beside the pause",
            )
            parser.json_option()
            parser.set_defaults(
                run=lambda args, shell: _tell(
                    shell.door().pause(args.for_s, args.reason), shell, as_json=args.json
                )
            )
        case "resume":
            parser.json_option()
            parser.set_defaults(
                run=lambda args, shell: _tell(shell.door().resume(), shell, as_json=args.json)
            )
        case "retry":
            parser.app_option("dial for this app only")
            parser.json_option()
            parser.set_defaults(
                run=lambda args, shell: _tell(
                    shell.door().retry(args.app), shell, as_json=args.json
                )
            )
        case "keep-here":
            parser.json_option()
            parser.set_defaults(run=lambda args, shell: keep_here(shell, as_json=args.json))
        case _:
            parser.set_defaults(run=lambda args, shell: stop(shell))


def keep_here(shell: Shell, *, as_json: bool) -> int:
    """Start a far end on this computer; degraded if it could not be started."""
    status = shell.door().keep_here()
    _tell(status, shell, as_json=as_json)
    return DEGRADED if status.keeping == "failed" else OK


def stop(shell: Shell) -> int:
    """Stop the running agent and wait until another one can start; degraded if that takes long."""
    lock = Places.find(shell.env).lock
    holder = read_holder(lock)
    shell.door().stop()
    until = time.monotonic() + STOPPING_S
    while is_held(lock) and read_holder(lock) == holder:  # another may have started since
        if time.monotonic() >= until:
            shell.complain(
                f"the agent was told to stop and has not ended after {STOPPING_S:.0f} s",
                "It may be writing to a slow disk: see `homing status` in a while.",
            )
            return DEGRADED
        time.sleep(0.02)
    shell.say("Stopped. What was accepted is on disk and will be sent after the next start.")
    return OK


def _tell(status: Status, shell: Shell, *, as_json: bool) -> int:
    if as_json:
        shell.json(status)
    else:
        shell.say(visible(status.sentence.text, 500))
    return OK
