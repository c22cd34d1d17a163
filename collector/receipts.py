"""A receipt for an erasure: what was deleted and when, signed, and without saying of whom.

The statement is JSON text, signed byte for byte with Ed25519 under a key that lies in a 0600 file
beside the store. It names the person by a digest only: SHA-256 of the app id, a zero byte and the
id, under a salt that stands in it, so that who knows the id can check it and nobody can read it.

    verify   the signature is of this statement, by this key; is the key the one you expect?
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from tracking.dates import iso
from tracking.errors import RequestFault, StorageFault

ALGORITHM: Final = "Ed25519"
KEY_FILE: Final = "receipts.key"
MOST_BYTES: Final = 64 * 1024


class Signed(msgspec.Struct, rename="camel"):
    """A statement and who signed it."""

    statement: str
    algorithm: str
    public_key: str
    signature: str


class Seal:
    """The collector's own key.

    Args:
        path: Of its file; made by chance at the first use.

    Raises:
        StorageFault: The file cannot be used, or holds no key.

    """

    def __init__(self, path: Path) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(_seed(path))

    @property
    def public_key(self) -> str:
        """What others check with, base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def receipt(
        self,
        app_id: str,
        subject: str,
        erased: Mapping[str, int],
        *,
        at_ms: int,
        unswept: int,
        set_aside: int,
    ) -> Signed:
        """Sign what was erased.

        Args:
            app_id: Of which app.
            subject: Who; only a digest of it is said.
            erased: Rows by table.
            at_ms: When.
            unswept: Erased rows whose bytes may still lie in a file, until it is rewritten.
            set_aside: Folders that restores set aside, which no erasure goes into.

        """
        salt = secrets.token_hex(16)
        statement = msgspec.json.encode(
            {
                "what": "erasure",
                "appId": app_id,
                "subject": digest(salt, app_id, subject),
                "salt": salt,
                "erased": dict(erased),
                "at": iso(at_ms),
                "unswept": unswept,
                "setAside": set_aside,
            }
        )
        signature = base64.b64encode(self._key.sign(statement)).decode()
        return Signed(statement.decode(), ALGORITHM, self.public_key, signature)


def digest(salt: str, app_id: str, subject: str) -> str:
    """Return how a receipt names somebody."""
    said = f"{salt}\0{app_id}\0{subject}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(said).hexdigest()


def verify(raw: bytes) -> tuple[Signed, dict[str, Any]]:
    """Return a receipt and what it states, if it is whole.

    Raises:
        RequestFault: It is no receipt, or was changed after it was signed.

    """
    try:
        signed = msgspec.json.decode(raw[: MOST_BYTES + 1], type=Signed)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signed.public_key, validate=True))
        signature = base64.b64decode(signed.signature, validate=True)
        stated = msgspec.json.decode(signed.statement, type=dict[str, Any])
    except (msgspec.MsgspecError, binascii.Error, ValueError) as exc:
        raise RequestFault(f"this is no receipt: {exc}") from exc
    if signed.algorithm != ALGORITHM:
        raise RequestFault(f"a receipt is signed with {ALGORITHM}", field="algorithm")
    try:
        key.verify(signature, signed.statement.encode())
    except InvalidSignature:
        raise RequestFault(
            "the signature is not of this statement: it was changed, or signed by another key",
            field="signature",
        ) from None
    return signed, stated


def _seed(path: Path) -> bytes:
    try:
        if not path.exists():
            made = path.with_name(f"{path.name}.new")
            made.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(made, flags, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            made.replace(path)
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            seed = file.read(33)
    except OSError as exc:
        raise StorageFault(f"{path} cannot be used: {exc.strerror or exc}") from exc
    if len(seed) != 32:
        raise StorageFault(
            f"{path} is no key of 32 bytes",
            advice="Put it back, or remove it: then a new one is made, and old receipts stand.",
        )
    return seed
