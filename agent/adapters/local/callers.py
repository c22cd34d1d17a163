"""Which program is at the other end of a connection of the local socket.

The kernel tells the process that connected (``SO_PEERCRED``, macOS ``LOCAL_PEERPID``); its program
is looked up at once, because a number is used again once its process has ended. That can be raced
by a program of the same user, and a script shows as its interpreter: it helps a person to decide,
it proves nothing (docs/consent.md).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from agent.adapters.machine.facts import program_of

PID = "pid:"  #: How :attr:`tracking.sink.Origin.peer` names a process on this machine.
GONE = " (deleted)"  #: The kernel's addition where the program's file was replaced or removed.


class Caller(NamedTuple):
    """A process and its program; 0 and empty where the system does not tell."""

    pid: int = 0
    executable: str = ""


def who(peer: str) -> Caller:
    """Return who is behind ``pid:1234``; anything else names no process of this machine."""
    number = peer.removeprefix(PID)
    if number == peer or not (number.isascii() and number.isdigit()) or int(number) == 0:
        return Caller()
    pid = int(number)
    return Caller(pid, _executable(pid))


def _executable(pid: int) -> str:
    """Return the path of a process's program, empty if we may not know it or it has ended."""
    if not sys.platform.startswith("linux"):
        return program_of(pid)
    try:
        path = str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""
    return path.removesuffix(GONE).encode(errors="replace").decode()
