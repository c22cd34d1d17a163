"""What we tell a service manager: ready, alive, stopping (the protocol of sd_notify(3)).

One datagram per sentence to the socket that ``$NOTIFY_SOCKET`` names. Nothing here waits: a
service manager that does not listen must not stop an agent that works, so a datagram that
cannot be sent is dropped and logged once. Children must not inherit ``$NOTIFY_SOCKET``.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger("agent.systemd")


class Supervisor:
    """The service manager that started us.

    Attributes:
        alive_every_s: How often :meth:`alive` is due, in seconds: half of the manager's
            patience, as sd_watchdog_enabled(3) recommends; None if it does not watch.

    """

    def __init__(self, address: str, alive_every_s: float | None = None) -> None:
        self.alive_every_s = alive_every_s
        # A leading @ stands for the abstract namespace (sd_notify(3)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._warned = False

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Supervisor | None:
        """Return the manager that the environment names, None if there is none."""
        address = env.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")) or len(address) < 2:
            return None
        return cls(address, _alive_every_s(env))

    def ready(self, status: str = "") -> None:
        """Say that start-up is complete; units ordered after us may start."""
        self._send("READY=1", status)

    def alive(self, status: str = "") -> None:
        """Say that the loop still turns; to be called by the thread that must not hang."""
        self._send("WATCHDOG=1", status)

    def stopping(self) -> None:
        """Say that we are on the way out, so that the silence is not taken for a hang."""
        self._send("STOPPING=1", "")

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _send(self, state: str, status: str) -> None:
        line = status.replace("\n", " ").encode()[:512].decode(errors="ignore")
        text = f"{state}\nSTATUS={line}" if line else state
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as exc:
            if not self._warned:
                self._warned = True
                log.warning("the service manager does not listen error=%s", type(exc).__name__)


def _alive_every_s(env: Mapping[str, str]) -> float | None:
    told = env.get("WATCHDOG_USEC", "")
    meant_for = env.get("WATCHDOG_PID", "")
    if not (told.isascii() and told.isdigit()) or int(told) == 0:
        return None
    if meant_for and meant_for != str(os.getpid()):
        return None  # our parent is watched, not we
    return int(told) / 2_000_000
