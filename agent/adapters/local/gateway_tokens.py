"""The gateway's tokens and its port, in one file that only we may read.

Of a token its SHA-256 is kept and nothing from which it could be made again (SECURITY.md,
"The gateway in detail"; threat rows 14-16). The file is written whole or not at all, so after a
cut of power a token is given or it is not, and a revoked one stays revoked.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from agent.adapters.machine.private_files import read_private, write_private
from agent.rules.gatekeeping import PREFIX_CHARS, Grant, digest_of
from tracking.errors import RequestFault

log = logging.getLogger("agent.gateway")

TOKEN_BYTES: Final = 32  #: 256 bits.
MOST_TOKENS: Final = 128  #: Each is compared at each request.


class _File(msgspec.Struct, kw_only=True):
    port: int = 0
    grants: list[Grant] = []


class GatewayTokens:
    """What stands in the file; every change is on disk when its method returns.

    Args:
        path: The file; need not exist.

    Raises:
        SettingsFault: Something else is there: a link, somebody else's file.
        StorageFault: It cannot be read.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = False  #: It was not understood: whoever had a token needs a new one.
        self._kept = self._read()

    @property
    def port(self) -> int:
        """The port that was chosen, 0 before."""
        return self._kept.port

    @property
    def grants(self) -> tuple[Grant, ...]:
        """Every token that opens, oldest first."""
        return tuple(self._kept.grants)

    def keep_port(self, port: int) -> None:
        """Keep the port for ever: apps have it in their settings."""
        self._write(_File(port=port, grants=self._kept.grants))

    def give(self, app_id: str, origins: Iterable[str], now_ms: int) -> tuple[str, Grant]:
        """Make a token; return it, for the only time, and what is kept of it.

        Raises:
            RequestFault: There are too many.
            StorageFault: It cannot be kept, so it was not given.

        """
        if len(self._kept.grants) >= MOST_TOKENS:
            raise RequestFault(
                f"there are {MOST_TOKENS} gateway tokens already",
                field="app_id",
                advice="Revoke some: homing apps tokens, homing apps revoke ID PREFIX.",
            )
        token = secrets.token_urlsafe(TOKEN_BYTES)
        grant = Grant(
            digest=digest_of(token),
            prefix=token[:PREFIX_CHARS],
            app_id=app_id,
            origins=tuple(origins),
            created_ms=now_ms,
        )
        self._write(_File(port=self.port, grants=[*self._kept.grants, grant]))
        return token, grant

    def revoke(self, app_id: str, prefix: str | None) -> tuple[Grant, ...]:
        """Forget the tokens of an app, or those that begin with ``prefix``; return them."""
        gone = tuple(
            grant
            for grant in self._kept.grants
            if grant.app_id == app_id and (prefix is None or prefix == grant.prefix)
        )
        if gone:
            stay = [grant for grant in self._kept.grants if grant not in gone]
            self._write(_File(port=self.port, grants=stay))
        return gone

    def used(self, grant: Grant, day: str) -> None:
        """Keep the day on which a token last opened.

        Raises:
            StorageFault: It cannot be written; it is told in memory all the same.

        """
        changed = [
            msgspec.structs.replace(one, last_used=day)
            if hmac.compare_digest(one.digest, grant.digest)
            else one
            for one in self._kept.grants
        ]
        self._kept = _File(port=self.port, grants=changed)
        self._write(self._kept)

    def _read(self) -> _File:
        raw = read_private(self.path)
        if raw is None:
            return _File()
        try:
            return msgspec.json.decode(raw, type=_File)
        except msgspec.MsgspecError:
            log.warning("the file of gateway tokens cannot be understood bytes=%d", len(raw))
            self.damaged = True
            return _File()

    def _write(self, kept: _File) -> None:
        write_private(self.path, msgspec.json.encode(kept))
        self._kept = kept
