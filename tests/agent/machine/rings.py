"""A keyring in memory, and none at all: equipment of this room."""

from __future__ import annotations

import threading

import keyring.backend
import keyring.errors

from agent.adapters.machine.system_keyring import NoKeyring

HOST = "https://stats.example.org"


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory, with the library's own interface and its failures."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.wrong: Exception | None = None
        self.opened = threading.Event()  # a window that waits for a password while it is clear
        self.opened.set()

    def _answer(self) -> None:
        self.opened.wait()
        if self.wrong is not None:
            raise self.wrong

    def get_password(self, service: str, username: str) -> str | None:
        self._answer()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._answer()
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._answer()
        del self.entries[service, username]


def absent() -> keyring.backend.KeyringBackend:
    raise NoKeyring("this session has no keyring")
