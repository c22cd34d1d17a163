"""Commands that become the program: the tray (no command) and `homing agent`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from agent.cli.shell import DEGRADED, Shell

if TYPE_CHECKING:
    from agent.cli.parser import Parser


def declare(name: str, parser: Parser) -> None:
    """Add the options of the tray or of the headless agent."""
    if name == "agent":
        parser.add_argument(
            "--notify",
            action="store_true",
            help="tell systemd READY, WATCHDOG and STOPPING over $NOTIFY_SOCKET",
        )
        parser.set_defaults(run=start_agent)
    else:
        parser.set_defaults(run=start_tray)
    parser.add_argument(
        "--keep-here",
        action="store_true",
        help="keep events on this computer if no far end is named: run a collector of your own",
    )


def start_agent(args: argparse.Namespace, shell: Shell) -> int:
    """Run the agent in the foreground until it is stopped."""
    from agent.adapters.machine.systemd import Supervisor
    from agent.host import run_headless

    supervisor = Supervisor.of(shell.env) if args.notify else None
    if args.notify and supervisor is None:
        shell.complain("there is no $NOTIFY_SOCKET, so nobody is notified")
    try:
        return run_headless(shell.env, supervisor=supervisor, flags=_flags(args))
    finally:
        if supervisor is not None:
            supervisor.close()


def _flags(args: argparse.Namespace) -> dict[str, object]:
    return {"far_end.keep_here": "yes"} if args.keep_here else {}


def start_tray(args: argparse.Namespace, shell: Shell) -> int:
    """Show the tray; without Qt or a display the terminal view; without a terminal a hint."""
    why = _no_window(shell)
    if why is None and shell.face is not None:
        code = shell.face(shell.env, args.keep_here)
        if code >= 0:
            return code
        why = ("the display does not answer", "This is the terminal view.")
    if why is not None:
        shell.complain(*why)
    if shell.out.isatty() and shell.inward.isatty():
        return _in_the_terminal(args, shell)
    shell.complain("no terminal either", "Run `homing agent`: the same agent without a face.")
    return DEGRADED


def _in_the_terminal(args: argparse.Namespace, shell: Shell) -> int:
    """Show the terminal view of the running agent, or of one hosted here as long as it shows."""
    from agent.cli.top import top
    from agent.host import Agent
    from tracking.errors import AgentRunning

    agent = Agent(shell.env, _flags(args))
    try:
        agent.start()
    except AgentRunning:
        return top(shell, once=False)
    try:
        return top(shell, once=False, hosted=True)
    finally:
        agent.stop()


def _no_window(shell: Shell) -> tuple[str, str] | None:
    """Return why no window can be shown, and what to do; None if one can."""
    try:
        import PySide6.QtWidgets  # noqa: F401
    except ModuleNotFoundError:
        return "the window needs Qt, which is not installed", "pip install homing[tray]"
    except ImportError as exc:  # a system library that Qt needs, named in the message
        return f"Qt cannot start: {exc}", "Install that library, see README.md."
    if sys.platform == "linux" and not any(
        shell.env.get(name) for name in ("WAYLAND_DISPLAY", "DISPLAY", "QT_QPA_PLATFORM")
    ):
        return "there is no display here", "This is the terminal view; `homing agent` needs none."
    return None
