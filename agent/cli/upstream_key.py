"""`homing upstreams key` and `forget-key`: the key of an upstream that speaks Bucket.

A key is never an argument: other programs see those, and shells keep them.
"""

from __future__ import annotations

import argparse
import getpass
from typing import TYPE_CHECKING

from agent.cli.shell import OK, Shell, UsageFault
from agent.door.upstream_keys import ForgetUpstreamKey, KeepUpstreamKey
from agent.rules.wording import visible

if TYPE_CHECKING:
    from agent.door.upstream_keys import KeyKept


def change(args: argparse.Namespace, shell: Shell) -> int:
    """Have a key kept, or deleted."""
    app_id, name = args.words
    if args.action == "forget-key":
        return _tell(shell.door().ask(ForgetUpstreamKey(app_id, name)), args, shell)
    if shell.inward.isatty():
        key = getpass.getpass(f"Key of {visible(name)} for {visible(app_id)}: ", shell.err)
    else:
        key = shell.inward.readline().strip()
    if not key:
        raise UsageFault(
            "no key was given",
            advice=f"As in: homing upstreams key {app_id} {name} <key-file",
        )
    return _tell(shell.door().ask(KeepUpstreamKey(app_id, name, key)), args, shell)


def _tell(kept: KeyKept, args: argparse.Namespace, shell: Shell) -> int:
    if args.json:
        shell.json(kept)
        return OK
    origin = visible(kept.origin)
    if kept.kept_in:
        shell.say(f"The key for {origin} is kept in: {kept.kept_in}.")
    elif not kept.notice:
        shell.say(f"The key for {origin} is deleted.")
    if kept.notice:
        shell.say(kept.notice)
    return OK
