"""Every host that the agent may contact, and why: a list that is asked before any look-up.

What is not on it is not even looked up (``agent.adapters.roads.road``). The list grows by what the
settings name, by the proxies that the system or a PAC script names, and by nothing that a far end
says. This computer itself is always allowed: nothing leaves it that way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.rules.endpoints import is_loopback
from tracking.errors import NotListed


@dataclass(frozen=True, slots=True)
class Contact:
    """One line of the list.

    Attributes:
        host: As dialed, lower case.
        port: Likewise.
        purpose: For a person: what it is contacted for.

    """

    host: str
    port: int
    purpose: str


@dataclass(slots=True)
class Contacts:
    """The list. Any thread may ask or add; a line is one assignment."""

    lines: dict[tuple[str, int, str], Contact] = field(default_factory=dict)
    _hosts: set[str] = field(default_factory=set)

    def add(self, host: str, port: int, purpose: str) -> None:
        """Allow a host, from now on."""
        host = host.lower()
        self.lines[host, port, purpose] = Contact(host, port, purpose)
        self._hosts.add(host)

    def require(self, host: str) -> None:
        """Pass if ``host`` is on the list.

        Raises:
            NotListed: It is not.

        """
        if host.lower() not in self._hosts and not is_loopback(host):
            raise NotListed(
                f"{host} is named by no setting, so it is not contacted",
                advice="Compare `homing network hosts` with homing.toml.",
            )

    def rows(self) -> tuple[Contact, ...]:
        """Return the list, by host."""
        return tuple(sorted(self.lines.values(), key=lambda one: (one.host, one.port, one.purpose)))
