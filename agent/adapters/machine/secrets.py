"""Secrets: the device key and the Data API tokens, and where each of them is kept.

    device key   organisation's file → keyring → 0600 file (said) → memory (said)
    token, key   file named by a setting → systemd credential → keyring → memory (said)

The device key is no credential: who has it learns which ``deviceId`` this machine has, nothing
more; so a 0600 file may hold it. A token opens other people's data, the key of a Bucket far end
lets write there; neither is ever written as plain text here, only read from where a person put it.

A keyring's entry for a token or a key names the origin it was saved for, so that changing the far
end's address cannot carry the old one to a new host.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from agent.adapters.machine.private_files import read_private, write_private
from agent.adapters.machine.system_keyring import Keyring, NoKeyring
from agent.rules.endpoints import parse_address
from agent.rules.identity import KEY_BYTES
from tracking.errors import BadFile, SecretFault, SettingsFault, StorageFault

DEVICE_KEY = "device-key"
APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  #: Fit to be part of a file's name (threat row 33).

For = Literal["data", "bucket"]  #: What a secret opens: a Data API, or a Bucket far end.

KeptIn = Literal[
    "keyring",
    "file (unencrypted)",
    "memory (until it stops)",
    "organisation's file",
    "file you named",
    "systemd credential",
]


class Kept(NamedTuple):
    """A secret's whereabouts, and what a person should know about them."""

    where: KeptIn
    notice: str = ""  #: A sentence; empty if there is nothing to say.


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """K of deviceId v1."""

    key: bytes = field(repr=False)
    kept: Kept


@dataclass(frozen=True, slots=True)
class Token:
    """A token for one origin's Data API, or the key of a Bucket far end there."""

    text: str = field(repr=False)
    kept: Kept


class Secrets:
    """Finds, makes and keeps secrets. Any thread may call, and may have to wait for a person.

    Args:
        key_file: Where the device key lies if there is no keyring.
        organisation_key: File of an organisation's key, None for none.
        service: Our name in the keyring.
        env: ``CREDENTIALS_DIRECTORY`` is read from here.
        keyring: The system's, if none is given.

    """

    def __init__(
        self,
        *,
        key_file: Path,
        organisation_key: Path | None = None,
        service: str = "homing",
        env: Mapping[str, str] | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self.key_file = key_file
        self.organisation_key = organisation_key
        self.service = service
        self.env = os.environ if env is None else env
        self.keyring = keyring or Keyring()
        self._making = threading.Lock()  # two apps at once must not make two keys
        self._memory: dict[tuple[str, str], str] = {}

    # -- the device key ------------------------------------------------------------------------

    def device_key(self) -> DeviceKey:
        """Return the device key; make and keep one if there is none.

        Raises:
            SecretFault: The keyring is locked, or a file that should hold the key cannot be
                believed. Nothing was made.

        """
        if self.organisation_key is not None:
            return self._organisation_key(self.organisation_key)
        with self._making:
            return self._own_key()

    def device_key_without_keyring(self, why: str) -> DeviceKey:
        """Return the key that lies in a file, made if need be, while the keyring is locked.

        The key is no credential, and ids are made once per app and kept; so an app that is new
        while the keyring is locked gets an id from another key, and nobody is the worse for it.
        Refusing its events until a person types a password would be.

        Raises:
            SecretFault: The file that should hold it cannot be believed.

        """
        if self.organisation_key is not None:
            return self._organisation_key(self.organisation_key)
        with self._making:
            return self._key_in_file(why)

    def _own_key(self) -> DeviceKey:
        try:
            text = self.keyring.get(self.service, DEVICE_KEY, quietly=True)
            if text is not None:
                return DeviceKey(_key_of(text.encode(), "the keyring"), Kept("keyring"))
        except NoKeyring as why:
            return self._key_in_file(str(why))
        if os.path.lexists(self.key_file):
            # made when there was no keyring: the same machine keeps the same key
            return self._key_in_file("it was made when this session had no keyring")
        key = secrets.token_bytes(KEY_BYTES)
        try:
            self.keyring.set(self.service, DEVICE_KEY, key.hex(), quietly=True)
        except NoKeyring as why:
            return self._key_in_file(str(why))
        return DeviceKey(key, Kept("keyring"))

    def forget_device_key(self) -> list[str]:
        """Delete the device key wherever it is; return where it was. The organisation's stays.

        Raises:
            SecretFault: The keyring is locked; everything else is gone.

        """
        gone = []
        if self._memory.pop((self.service, DEVICE_KEY), None) is not None:
            gone.append("memory")
        if os.path.lexists(self.key_file):
            self.key_file.unlink()
            gone.append(str(self.key_file))
        if self._delete(self.service, DEVICE_KEY):
            gone.append("keyring")
        return gone

    def _organisation_key(self, path: Path) -> DeviceKey:
        try:
            raw = read_private(path, shared=True)
        except (SettingsFault, StorageFault) as fault:
            raise SecretFault(f"the organisation's key: {fault}", advice=fault.advice) from fault
        if raw is None:
            raise SecretFault(
                f"the organisation's key {path} does not exist",
                advice="Put it there, or clear identity.organisation_key.",
            )
        return DeviceKey(_key_of(raw, str(path)), Kept("organisation's file"))

    def _key_in_file(self, why: str) -> DeviceKey:
        """Return the key in the 0600 file, made if need be; in memory if none can be written."""
        text = self._memory.get((self.service, DEVICE_KEY))
        if text is not None:
            return DeviceKey(bytes.fromhex(text), _in_memory("The device key", why))
        try:
            raw = read_private(self.key_file)
        except (SettingsFault, StorageFault) as fault:
            raise SecretFault(f"the device key: {fault}", advice=fault.advice) from fault
        kept = Kept(
            "file (unencrypted)",
            f"The device key is kept unencrypted in {self.key_file}: {why}.",
        )
        if raw is not None:
            return DeviceKey(_key_of(raw, str(self.key_file)), kept)
        key = secrets.token_bytes(KEY_BYTES)
        try:
            write_private(self.key_file, key.hex().encode() + b"\n")
        except StorageFault as fault:
            self._memory[self.service, DEVICE_KEY] = key.hex()
            return DeviceKey(key, _in_memory("The device key", str(fault)))
        return DeviceKey(key, kept)

    # -- tokens --------------------------------------------------------------------------------

    def token(
        self, origin: str, app_id: str, *, file: Path | None = None, what: For = "data"
    ) -> Token | None:
        """Return the token for an origin's Data API, or None if nobody gave us one.

        Args:
            origin: ``https://host[:port]``; a token saved for another origin is not found.
            app_id: Whose data it opens.
            file: As the settings name it.
            what: Or the key of a Bucket far end at that origin.

        Raises:
            SecretFault: The keyring is locked, or a file cannot be believed.

        """
        entry = token_entry(self.service, origin, what)
        if file is not None:
            text = _read_token(file)
            if text is None:
                setting = "token_file" if what == "data" else "key_file"
                raise BadFile(
                    f"the file {file} does not exist, which {setting} names",
                    advice=f"Put it there, or clear {setting}.",
                )
            return Token(text, Kept("file you named"))
        if (text := self._credential(origin, app_id, what)) is not None:
            return Token(text, Kept("systemd credential"))
        try:
            text = self.keyring.get(entry, app_id)
        except NoKeyring as why:
            text = self._memory.get((entry, app_id))
            return None if text is None else Token(text, _in_memory("The token", str(why)))
        return None if text is None else Token(text, Kept("keyring"))

    def keep_token(self, origin: str, app_id: str, text: str, *, what: For = "data") -> Kept:
        """Keep a token (or key) for one origin; return where.

        Raises:
            SecretFault: The keyring is locked. Nothing was kept.

        """
        entry = token_entry(self.service, origin, what)
        try:
            self.keyring.set(entry, app_id, text)
        except NoKeyring as why:
            self._memory[entry, app_id] = text
            return _in_memory("The token", str(why))
        return Kept("keyring")

    def forget_token(self, origin: str, app_id: str, *, what: For = "data") -> bool:
        """Delete a token (or key) from keyring and memory; tell whether there was one."""
        entry = token_entry(self.service, origin, what)
        in_memory = self._memory.pop((entry, app_id), None) is not None
        return self._delete(entry, app_id) or in_memory

    def _credential(self, origin: str, app_id: str, what: For) -> str | None:
        """Return what systemd's ``LoadCredential=`` put there for this origin (and app)."""
        folder = self.env.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            return None
        name = credential_name(origin, what)
        names = [f"{name}-{app_id}", name] if APP_ID.fullmatch(app_id) else [name]
        found = (_read_token(Path(folder, one)) for one in names)
        return next((text for text in found if text is not None), None)

    def _delete(self, service: str, name: str) -> bool:
        try:
            return self.keyring.delete(service, name)
        except NoKeyring:
            return False


def token_entry(service: str, origin: str, what: For = "data") -> str:
    """Return the name of a token's entry: ``homing:data:https://host:443``.

    Raises:
        SettingsFault: Not the address of a Data API.

    """
    address = parse_address(origin, ("https", "http"))
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{service}:{what}:{address.scheme}://{host}:{address.port}"


def credential_name(origin: str, what: For = "data") -> str:
    """Return the name of a token's systemd credential: ``homing-data-https-host-443``."""
    address = parse_address(origin, ("https", "http"))
    host = re.sub(r"[^a-z0-9.-]", "_", address.host)
    return f"homing-{what}-{address.scheme}-{host}-{address.port}"


def _key_of(raw: bytes, where: str) -> bytes:
    """Read a key: 64 hexadecimal digits."""
    text = raw.strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        raise SecretFault(
            f"{where} holds no key: 64 hexadecimal digits were expected, {len(text)} bytes found",
            advice="Restore it, or remove it to get a new key (and new device ids).",
        )
    return bytes.fromhex(text.decode("ascii"))


def _read_token(path: Path) -> str | None:
    """Return the token in a file that a person or systemd put there."""
    try:
        raw = read_private(path, shared=True)
    except (SettingsFault, StorageFault) as fault:
        raise BadFile(f"the token file: {fault}", advice=fault.advice) from fault
    if raw is None:
        return None
    text = raw.strip()
    if not text or len(text) > 4096 or not re.fullmatch(rb"[\x21-\x7e]+", text):
        raise BadFile(f"the token file {path} holds no token: one line of text was expected")
    return text.decode("ascii")


def _in_memory(what: str, why: str) -> Kept:
    return Kept(
        "memory (until it stops)",
        f"{what} is kept in memory only and is forgotten when the agent stops: {why}.",
    )
