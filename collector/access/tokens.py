"""The tokens: who may ask the Data API about an app, until when, and what.

Kept as prefix and SHA-256; they have 256 random bits, so no slow hash is needed (SECURITY.md,
"Collector"). A look-up that finds nothing still compares a digest, so that the time tells nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from collector.access.accounts_file import AccountsFile
from tracking.errors import RequestFault

SCOPES = ("stats:read", "users:read", "users:delete", "admin")
TOKEN_MARK = "dat1_"  # noqa: S105 - the public prefix
PREFIX_CHARS = 8
DAY_MS = 86_400_000
MOST_DAYS = 36_500
INSERT = "INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, NULL)"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token opens."""

    prefix: str
    app_id: str
    scopes: frozenset[str]
    created_ms: int
    expires_ms: int | None
    used_day: int | None


class Tokens(AccountsFile):
    """The tokens of all apps."""

    def add_token(
        self, app_id: str, scopes: Iterable[str], now_ms: int, *, days: int | None = None
    ) -> str:
        """Make a token for an app and return it; it is shown this once.

        Raises:
            RequestFault: No such app, or no such scope.

        """
        wanted = list(dict.fromkeys(scopes)) or ["stats:read", "users:read"]
        for scope in wanted:
            if scope not in SCOPES:
                raise RequestFault(
                    f"no scope is named {scope[:40]!r}; there are {', '.join(SCOPES)}",
                    field="scope",
                )
        with self.border() as db:
            known = db.execute("SELECT 1 FROM app WHERE app_id = ?", (app_id,)).fetchone()
        if known is None:
            raise RequestFault(f"there is no app {app_id[:80]!r}", field="app_id", status=404)
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise RequestFault(f"a token lasts 1 to {MOST_DAYS} days, got {days}", field="days")
        text = _fresh()
        ends_ms = None if days is None else now_ms + days * DAY_MS
        said = (_prefix(text), digest_of(text), app_id, " ".join(wanted), now_ms, ends_ms)
        with self.border(changing=True) as db:
            db.execute(INSERT, said)
        return text

    def rotate(self, prefix: str, now_ms: int, *, overlap_ms: int = 0) -> tuple[str, Grant]:
        """Make a token that opens the same for as long; the old one ends after the overlap.

        Args:
            prefix: The old token's first eight characters (after ``dat1_``).
            now_ms: Unix milliseconds.
            overlap_ms: How long both work, so that whoever asks can be given the new one.

        Returns:
            The new token, shown this once, and the old one as it is now.

        Raises:
            RequestFault: No living token, or more than one, begins like this.

        """
        text = _fresh()
        with self.border(changing=True) as db:
            db.execute("BEGIN IMMEDIATE")
            with db:
                rows = db.execute(
                    "SELECT * FROM token WHERE prefix = ? AND coalesce(expires_ms, ?2) >= ?2",
                    (_prefix(prefix), now_ms + 1),
                ).fetchall()
                if len(rows) != 1:
                    many = f"{len(rows)} tokens begin" if rows else "no living token begins"
                    raise RequestFault(f"{many} with {prefix[:40]!r}", field="prefix", status=404)
                old = _grant(rows[0])
                lasts_ms = None if old.expires_ms is None else old.expires_ms - old.created_ms
                ends_ms = None if lasts_ms is None else now_ms + lasts_ms
                scopes = str(rows[0][3])
                said = (_prefix(text), digest_of(text), old.app_id, scopes, now_ms, ends_ms)
                db.execute(INSERT, said)
                old_ends_ms = now_ms + overlap_ms
                if old.expires_ms is not None:
                    old_ends_ms = min(old.expires_ms, old_ends_ms)
                db.execute(
                    "UPDATE token SET expires_ms = ? WHERE digest = ?", (old_ends_ms, rows[0][1])
                )
        return text, dataclasses.replace(old, expires_ms=old_ends_ms)

    def grant(self, text: str, now_ms: int) -> Grant | None:
        """Return what a token opens, None if it opens nothing (any more)."""
        digest = digest_of(text)
        with self.border() as db:
            rows = db.execute("SELECT * FROM token WHERE prefix = ?", (_prefix(text),)).fetchall()
        found: Grant | None = None
        for row in rows or [("", b"\0" * 32, "", "", 0, None, None)]:  # a dummy to compare
            same = hmac.compare_digest(bytes(row[1]), digest)
            if same and (row[5] is None or row[5] > now_ms):
                found = _grant(row)
        if found is not None and found.used_day != now_ms // DAY_MS:
            with self.border(changing=True) as db:
                db.execute(
                    "UPDATE token SET used_day = ? WHERE digest = ?", (now_ms // DAY_MS, digest)
                )
        return found

    def tokens(self, app_id: str | None = None) -> list[Grant]:
        with self.border() as db:
            rows = db.execute(
                "SELECT * FROM token WHERE ?1 IS NULL OR app_id = ?1 ORDER BY created_ms", (app_id,)
            ).fetchall()
        return [_grant(row) for row in rows]

    def revoke(self, prefix: str) -> int:
        """Take tokens back by their first eight characters (after ``dat1_``); return how many."""
        with self.border(changing=True) as db:
            done = db.execute("DELETE FROM token WHERE prefix = ?", (_prefix(prefix),))
        return done.rowcount


def _fresh() -> str:
    text = TOKEN_MARK + secrets.token_urlsafe(32)
    while _prefix(text).startswith("-"):  # `token revoke -Ab3dEf6` would be a flag
        text = TOKEN_MARK + secrets.token_urlsafe(32)
    return text


def _grant(row: tuple[str, bytes, str, str, int, int | None, int | None]) -> Grant:
    prefix, _, app_id, scopes, created_ms, expires_ms, used_day = row
    return Grant(prefix, app_id, frozenset(scopes.split()), created_ms, expires_ms, used_day)


def _prefix(text: str) -> str:
    return text.removeprefix(TOKEN_MARK)[:PREFIX_CHARS]


def digest_of(text: str) -> bytes:
    """Return what is kept of a token or a key that has enough chance in it to need no salt."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
