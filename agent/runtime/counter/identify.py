"""Making an app's identity: once, after consent, off the core's thread because keyrings block.

deviceId v1 hashes a MAC address with a key that never leaves this machine (SECURITY.md, "The
device id"); the result is kept per app, so the address is read once and stored nowhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets as chance
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec
from nanoid import generate

from agent.adapters.machine.facts import mac_candidates
from agent.adapters.machine.secrets import Kept, Secrets
from agent.rules.identity import ID_BYTES, MAC_BYTES, choose_mac, device_id, passing_device_id
from agent.rules.stamp import Identity
from agent.runtime.counter.intake import Intake
from agent.runtime.off_loop import off_loop
from agent.runtime.report import Board
from agent.runtime.ways.departures import Departures
from tracking.errors import Fault, SecretFault

log = logging.getLogger("agent.core")

ANON_ID_CHARS = 12  #: Seed 000: "a nanoid of 12 chars".


class Made(NamedTuple):
    """A new identity, and where its key is kept (None if it needed none)."""

    identity: Identity
    kept: Kept | None


def make_identity(app_id: str, secrets: Secrets, *, per_session: bool) -> Made:
    """Return a new identity for an app; may take as long as the keyring does.

    Args:
        app_id: Two apps never share a deviceId.
        secrets: Keeps the device key.
        per_session: The person wants a random deviceId instead (``identity.device_id``).

    Raises:
        SecretFault: Neither the keyring nor a file can be believed.

    """
    anon_id = generate(size=ANON_ID_CHARS)
    if per_session:
        passing = passing_device_id(chance.token_bytes(ID_BYTES))
        return Made(Identity(device_id=passing, anon_id=anon_id), None)
    try:
        device = secrets.device_key()
    except SecretFault as fault:
        device = secrets.device_key_without_keyring(str(fault))
    mac = choose_mac(mac_candidates()) or os.urandom(MAC_BYTES)
    made = Identity(device_id=device_id(device.key, app_id, mac), anon_id=anon_id)
    return Made(made, device.kept)


class Naming:
    """Has identities made and tells what came of it.

    Args:
        secrets: Keeps the device key.
        board: Shows where it is kept.
        per_session: The person wants a random deviceId instead.
        note: Shows a notice: code, text, severity.

    Attributes:
        intake: Waits for the identities; set once it exists.
        departures: Likewise: a heartbeat says whose it is.

    """

    intake: Intake
    departures: Departures

    def __init__(
        self,
        secrets: Secrets,
        board: Board,
        *,
        per_session: bool,
        note: Callable[[str, str, str], None],
    ) -> None:
        self.secrets = secrets
        self.board = board
        self.per_session = per_session
        self.note = note
        self._turn = asyncio.Lock()  # one thread at the keyring, however many apps

    async def name(self, app_id: str) -> None:
        """Have an app's identity made, off the loop: the keyring may block."""
        make = partial(make_identity, app_id, self.secrets, per_session=self.per_session)
        try:
            async with self._turn:
                made = await off_loop(make, name="identity")
        except Fault as fault:
            log.warning("no identity could be made app=%s code=%s", app_id, fault.code)
            self.note(fault.code, str(fault), "error")
            self.intake.unidentified(app_id, fault)
            return
        self.board.unnote("secret")
        if made.kept is not None and self.board.facts is not None:
            kept_in = made.kept.where
            self.board.facts = msgspec.structs.replace(self.board.facts, key_kept_in=kept_in)
            if made.kept.notice:
                self.note("secret.unencrypted", made.kept.notice, "info")
        self.intake.identified(app_id, made.identity)
        self.departures.named(app_id)
