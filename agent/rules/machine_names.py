"""What an error tells of this computer and its person without anybody having meant it.

A stack names files below the home folder, and so the person; a message names the host. Threat
row 48 forbids that the agent passes on network addresses, host, person and home folder; this is
the rule for it that needs no writing and is on by itself (``redaction.machine``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agent.rules.json_edit import UNREADABLE, each_text, edit, parse_path

Reach: TypeAlias = Literal["errors", "all", "off"]

LEAST_CHARS: Final = 3  #: A shorter name is found in too many words that are none.
#: Names that say nothing of a person or a computer, and stand in many a stack.
GENERIC: Final = frozenset(
    {"root", "user", "users", "admin", "administrator", "home", "homing", "node", "app", "www-data"}
    | {"ubuntu", "debian", "fedora", "runner", "vagrant", "docker", "nobody", "daemon", "guest"}
    | {"localhost", "localhost.localdomain", "local", "host", "test", "build", "default", "python"}
)
_MAC: Final = r"(?<![0-9A-Fa-f:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:-])"
_EVERY_MEMBER: Final = parse_path("$.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineNames:
    """What is looked for.

    Attributes:
        homes: Paths of the home folder, as the system spells them.
        user: The account's name.
        hosts: The computer's names, with and without its domain.

    """

    homes: tuple[str, ...] = ()
    user: str = ""
    hosts: tuple[str, ...] = ()


class MachineRule:
    """Replaces what names the machine: the home folder by ``~``, the others by what they are.

    Args:
        names: This computer's.

    """

    def __init__(self, names: MachineNames) -> None:
        # Literals and one bounded pattern: Python's engine takes linear time for these.
        self._all = re.compile(
            "|".join(
                (
                    _group("home", _spelled(names.homes), r"(?![\w.-])"),
                    _group("login", _logins(names), r"(?!\w)", before=r"(?<!\w)"),
                    _group("user", _telling([names.user]), r"(?!\w)", before=r"(?<!\w)"),
                    _group("host", _telling(names.hosts), r"(?!\w)", before=r"(?<!\w)"),
                    f"(?P<mac>{_MAC})",
                )
            ),
            re.IGNORECASE,
        )

    def text(self, text: str) -> str:
        """Return a text without the names."""
        return self._all.sub(_stand_in, text)

    def apply(self, raw: bytes) -> bytes | None:
        """Return an event (one JSON object) without them; None if it is nested too deeply."""
        try:
            return edit(raw, _EVERY_MEMBER, lambda value: each_text(value, self.text))
        except UNREADABLE:
            return None


def _stand_in(found: re.Match[str]) -> str:
    return {"home": "~", "login": "USER@HOST", "user": "USER", "host": "HOST", "mac": "MAC"}[
        found.lastgroup or "mac"
    ]


def _group(name: str, words: Iterable[str], after: str, *, before: str = "") -> str:
    """Return a group that finds one of the words, or nothing if there are none."""
    told = sorted({re.escape(word) for word in words}, key=len, reverse=True)
    return f"(?P<{name}>{before}(?:{'|'.join(told)}){after})" if told else f"(?P<{name}>(?!))"


def _spelled(homes: Iterable[str]) -> list[str]:
    """Return a home folder in the ways in which programs write it: C:/Users and C:\\Users."""
    told = []
    for path in homes:
        home = path.rstrip("/\\")
        if len(home) > LEAST_CHARS:
            told += [home, home.replace("\\", "/")]
    return told


def _logins(names: MachineNames) -> list[str]:
    """Return ``root@vm``: even names that say nothing of anybody do so together."""
    return [f"{names.user}@{host}" for host in names.hosts if names.user and host]


def _telling(names: Iterable[str]) -> list[str]:
    return [name for name in names if len(name) >= LEAST_CHARS and name.lower() not in GENERIC]
