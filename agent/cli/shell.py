"""What a command may touch, and what its exit code promises.

A command is a function of a :class:`Shell`: streams, environment, and how to find an agent. So
a test hands it a scripted door and two string buffers, and nothing is patched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import msgspec

from agent.rules.wording import visible
from tracking.errors import (
    AgentGone,
    AgentRunning,
    Fault,
    RequestFault,
    SettingsFault,
)

if TYPE_CHECKING:
    from agent.cli.entrance import Entrance
    from agent.door import Door

# Exit codes are a promise to scripts (sysexits.h where it has a word).
OK = 0
DEGRADED = 1  #: It works, or was done, but a person may want to look.
USAGE = 64
NO_AGENT = 69
BUG = 70
ALREADY_RUNNING = 75
BAD_SETTINGS = 78
INTERRUPTED = 130  #: As a shell reports death by SIGINT.
INDENT = " " * len("homing: ")
PIPE_CLOSED = 141  #: As a shell reports death by SIGPIPE.


class UsageFault(Fault):
    """The command line says something impossible."""

    code = "usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """The surroundings of one command.

    Attributes:
        out: Where facts go.
        err: Where complaints, questions and progress go.
        inward: Standard input.
        env: The environment, as the settings and the places read it.
        door: Finds the running agent; the command that calls it needs one.
        entrance: Connects to the agent's listener, for what is too long for one answer.
        face: Shows the tray until it is closed and returns the exit code; None without one.

    """

    out: TextIO
    err: TextIO
    inward: TextIO
    env: Mapping[str, str]
    door: Callable[[], Door]
    entrance: Callable[[], Entrance]
    face: Callable[[Mapping[str, str], bool], int] | None = None

    def say(self, line: str = "") -> None:
        """Write one line of facts."""
        self.out.write(f"{line}\n")

    def json(self, facts: object) -> None:
        """Write facts as one line of JSON, with the door's own names."""
        self.out.write(msgspec.json.encode(facts).decode() + "\n")

    def complain(self, line: str, advice: str = "") -> None:
        """Write one line for the person at the keyboard, and what they can do about it."""
        self.out.flush()  # facts that came first are seen first
        self.err.write(f"homing: {line}\n")
        if advice:
            self.err.write(f"{INDENT}{advice}\n")
        self.err.flush()

    def complain_of(self, fault: Fault) -> None:
        """Say what went wrong; a fault that names several things has a line for each."""
        told = [visible(line, 1000) for line in str(fault).splitlines()] or [fault.code]
        self.complain(f"\n{INDENT}".join(told), visible(fault.advice, 1000))


def exit_code(fault: Fault) -> int:
    """Return the promise that belongs to a fault (ARCHITECTURE.md §7)."""
    match fault:
        case AgentGone():
            return NO_AGENT
        case AgentRunning():
            return ALREADY_RUNNING
        case SettingsFault():
            return BAD_SETTINGS
        case UsageFault() | RequestFault():
            return USAGE
    return DEGRADED
