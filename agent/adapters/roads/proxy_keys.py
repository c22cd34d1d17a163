"""Who we are to a proxy, and where that is kept (SECURITY.md, "Storage").

    login   file named by a setting → systemd credential → keyring → memory (said)

An entry names the proxy by host and port, so that another proxy never gets the login of the
first. Nothing is ever written as plain text here; diagnostics learn only whether there is one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from agent.adapters.machine.private_files import read_private
from agent.adapters.machine.secrets import Kept
from agent.adapters.machine.system_keyring import Keyring, NoKeyring
from agent.adapters.roads.proxy_login import Login
from tracking.errors import SecretFault, SettingsFault, StorageFault

NAME, PLACES = "login", "places"
TEXT = re.compile(r"[^:\x00-\x1f\x7f]{1,256}:[^\x00-\x1f\x7f]{0,1024}\Z")


class ProxyKeys:
    """Finds and keeps logins. Any thread may call, and may have to wait for a keyring.

    Args:
        service: Our name in the keyring.
        file: As the settings name it, None for none.
        env: ``CREDENTIALS_DIRECTORY`` is read from here.
        keyring: The system's, if none is given.

    """

    def __init__(
        self,
        *,
        service: str = "homing",
        file: Path | None = None,
        env: Mapping[str, str] | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self.service = service
        self.file = file
        self.env = os.environ if env is None else env
        self.keyring = keyring or Keyring()
        self._memory: dict[str, str] = {}

    def find(self, place: str) -> Login | None:
        """Return the login for a proxy, None if nobody gave us one.

        Args:
            place: ``host:port``.

        Raises:
            SecretFault: The keyring is locked, or a file cannot be believed.

        """
        if self.file is not None:
            return _read(self.file, "the proxy's login file")
        folder = self.env.get("CREDENTIALS_DIRECTORY", "")
        if folder and (login := _read(Path(folder, credential_name(place)), "the credential")):
            return login
        if (text := self._memory.get(place)) is not None:
            return Login.parse(text)
        try:  # never a window that asks for a password because a road is being laid
            found = self.keyring.get(self._entry(place), NAME, quietly=True)
        except NoKeyring:
            return None
        return None if found is None else Login.parse(found)

    def keep(self, place: str, login: Login) -> Kept:
        """Keep a login for one proxy; return where.

        Raises:
            SettingsFault: Not a name and a password that can be sent.
            SecretFault: The keyring is locked. Nothing was kept.

        """
        text = f"{login.user}:{login.password}"
        if not TEXT.match(text) or ":" in login.user:
            raise SettingsFault(
                "a proxy's user has no colon, and neither it nor the password a line break"
            )
        try:
            self._index(place, there=True)
            self.keyring.set(self._entry(place), NAME, text)
        except NoKeyring as why:
            self._memory[place] = text
            return Kept(
                "memory (until it stops)",
                "The login is kept in memory only and is forgotten when the agent stops:"
                f" {why}. A file named by network.proxy_login_file lasts longer.",
            )
        self._memory.pop(place, None)
        return Kept("keyring")

    def forget(self, place: str) -> bool:
        """Delete a login from keyring and memory; tell whether there was one."""
        in_memory = self._memory.pop(place, None) is not None
        try:
            gone = self.keyring.delete(self._entry(place), NAME)
            self._index(place, there=False)
        except NoKeyring:
            return in_memory
        return gone or in_memory

    def forget_all(self) -> list[str]:
        """Delete every login from keyring and memory; return whose there were.

        Raises:
            SecretFault: The keyring is locked.

        """
        try:
            listed = self.keyring.get(f"{self.service}:proxies", PLACES, quietly=True) or ""
        except NoKeyring:
            listed = ""
        return [place for place in {*listed.split(), *self._memory} if self.forget(place)]

    def _index(self, place: str, *, there: bool) -> None:
        """Remember for which proxies there are logins: a keyring cannot be asked."""
        service = f"{self.service}:proxies"
        known = set((self.keyring.get(service, PLACES) or "").split())
        wanted = known | {place} if there else known - {place}
        if not wanted and known:
            self.keyring.delete(service, PLACES)
        elif wanted != known:
            self.keyring.set(service, PLACES, " ".join(sorted(wanted)))

    def _entry(self, place: str) -> str:
        return f"{self.service}:proxy:{place}"


def credential_name(place: str) -> str:
    """Return the name of a login's systemd credential: ``homing-proxy-host-3128``."""
    return "homing-proxy-" + re.sub(r"[^a-z0-9.-]", "-", place.lower())


def _read(path: Path, what: str) -> Login | None:
    """Return the login in a file that a person or systemd put there."""
    try:
        raw = read_private(path, shared=True)
    except (SettingsFault, StorageFault) as fault:
        raise SecretFault(f"{what}: {fault}", advice=fault.advice) from fault
    if raw is None:
        return None
    text = raw.decode("utf-8", "replace").rstrip("\r\n")
    if not TEXT.match(text):
        raise SecretFault(f"{what} {path} holds no login: one line, user:password, was expected")
    return Login.parse(text)
