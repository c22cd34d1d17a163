"""`homing collector`: serve, make apps and tokens, export. All of it also while it serves.

One module per family of commands; each adds itself in ``register``, imports what is heavy only when
it runs, and answers with an exit code (ARCHITECTURE.md §7) or raises a fault.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from collector.cli.parser import FAILED, RUNNING, SETTINGS, USAGE, build
from tracking.errors import AgentRunning, Fault, RequestFault, SettingsFault

INTERRUPTED = 130  #: 128 + SIGINT, as a shell says it.
NOT_ABOUT_WHAT_IS_THERE = {"serve", "config", "verify-receipt"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a fault becomes a sentence and an exit code."""
    os.umask(0o077)  # whatever an engine writes beside its files is nobody else's
    asked: list[int] = []

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        asked.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, end)
    args = argparse.Namespace()
    try:
        args = build().parse_args(argv)
        if args.data_dir is None and args.command not in NOT_ABOUT_WHAT_IS_THERE:
            from collector.cli.hints import elsewhere

            sys.stderr.write(elsewhere(os.environ))
        code: int = args.run(args)
        sys.stdout.flush()
    except Fault as fault:
        if asked:
            return stopped(args)
        sys.stderr.write(f"homing: {fault}\n")
        if fault.advice:
            sys.stderr.write(f"        {fault.advice}\n")
        return exit_code(fault)
    except KeyboardInterrupt:
        return stopped(args)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else USAGE
    except Exception:
        if asked:  # DuckDB turns a Ctrl-C in mid-question into an error of its own
            return stopped(args)
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    return code


def stopped(args: argparse.Namespace) -> int:
    """Say what was left by a command that was stopped (``args.left``), if it keeps that told."""
    if left := getattr(args, "left", ""):
        sys.stderr.write(f"homing: stopped; {left}\n")
    return INTERRUPTED


def exit_code(fault: Fault) -> int:
    """Return the promise that belongs to a fault (ARCHITECTURE.md §7)."""
    match fault:
        case AgentRunning():
            return RUNNING
        case SettingsFault():
            return SETTINGS
        case RequestFault():
            return USAGE
    return FAILED
