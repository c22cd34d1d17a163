"""Making an app's identity: once, after consent, off the core's thread because keyrings block.

deviceId v1 hashes a MAC address with a key that never leaves this machine (SECURITY.md, "The
device id"); the result is kept per app, so the address is read once and stored nowhere.
"""

from __future__ import annotations

import os
import secrets as chance
from typing import NamedTuple

from nanoid import generate

from agent.adapters.machine import mac_candidates
from agent.adapters.secrets import Kept, Secrets
from agent.rules.identity import ID_BYTES, MAC_BYTES, choose_mac, device_id, passing_device_id
from agent.rules.stamp import Identity
from tracking.errors import SecretFault

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
