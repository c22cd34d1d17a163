"""The accounts: which apps exist, and who may ask about them.

A small SQLite file beside the store, because it may be changed by the command line while a
server runs. Tokens are kept as prefix and SHA-256; they have 256 random bits, so no slow hash is
needed (SECURITY.md, "Collector"). A look-up that finds nothing still compares a digest, so that
the time tells nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tracking.errors import RequestFault, StorageFault

APP_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\Z")  #: Never taken for a flag.
SCOPES = ("stats:read", "users:read", "users:delete", "admin")
TOKEN_MARK = "dat1_"  # noqa: S105 - the public prefix
SECRET_MARK = "sec_"  # noqa: S105 - the public prefix
PUBLISHABLE_MARK = "pub_"
PREFIX_CHARS = 8
DAY_MS = 86_400_000
MOST_DAYS = 36_500

SCHEMA = """
CREATE TABLE IF NOT EXISTS app (
    app_id TEXT PRIMARY KEY, name TEXT NOT NULL, tracking_key TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL, retention_days INTEGER, demo INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS token (
    prefix TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, app_id TEXT NOT NULL, scopes TEXT NOT NULL,
    created_ms INTEGER NOT NULL, expires_ms INTEGER, used_day INTEGER
);
CREATE INDEX IF NOT EXISTS token_by_prefix ON token (prefix);
CREATE TABLE IF NOT EXISTS publishable_key (app_id TEXT PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS secret_key (
    app_id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created_ms INTEGER NOT NULL
);
"""
#: Columns that the first files did not have, by what adds them; in the order of SCHEMA.
LATER = {
    "retention_days": "ALTER TABLE app ADD COLUMN retention_days INTEGER",
    "demo": "ALTER TABLE app ADD COLUMN demo INTEGER NOT NULL DEFAULT 0",
}


@dataclass(frozen=True, slots=True)
class AppAccount:
    """One app that may report here.

    Attributes:
        retention_days: Days that its events are kept, 0 for ever, None as the settings say.
        demo: Its events were made up (`homing collector demo`).

    """

    app_id: str
    name: str
    tracking_key: str
    created_ms: int
    retention_days: int | None = None
    demo: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token opens."""

    prefix: str
    app_id: str
    scopes: frozenset[str]
    created_ms: int
    expires_ms: int | None
    used_day: int | None


class Accounts:
    """Apps and tokens. Any thread may call; several processes may."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(path, flags, 0o600))
            # Two connections: who asks, on the loop, never waits for a disk or another process.
            self._changes = self._connect()
            self._changes.execute("PRAGMA journal_mode = WAL").fetchall()
            self._changes.execute("PRAGMA synchronous = FULL")
            self._changes.executescript(SCHEMA)
            self._migrate(self._changes)
            self._db = self._connect()
        except (OSError, sqlite3.DatabaseError) as exc:
            raise StorageFault(f"{path} cannot be used: {exc}") from exc
        self._known: dict[str, AppAccount] = {}

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA busy_timeout = 5000")
        return db

    @staticmethod
    def _migrate(db: sqlite3.Connection) -> None:
        """Add what an older file has not; two processes may try at once."""

        def columns() -> set[str]:
            return {row[1] for row in db.execute("PRAGMA table_info(app)")}

        if columns() >= LATER.keys():
            return
        db.execute("BEGIN IMMEDIATE")
        with db:
            there = columns()
            for name, statement in LATER.items():
                if name not in there:
                    db.execute(statement)

    def close(self) -> None:
        with self._lock, self._changing:
            self._db.close()
            self._changes.close()

    @contextlib.contextmanager
    def _border(self, *, changing: bool = False) -> Iterator[sqlite3.Connection]:
        with self._changing if changing else self._lock:
            try:
                yield self._changes if changing else self._db
            except sqlite3.DatabaseError as exc:
                raise StorageFault(f"{self.path} cannot be used: {exc}") from exc

    # --- apps ----------------------------------------------------------------------------------

    def app(self, app_id: str) -> AppAccount | None:
        """Return an app; unknown ones are asked for again each time, known ones are remembered."""
        known = self._known.get(app_id)
        if known is not None or not APP_ID.match(app_id):
            return known
        with self._border() as db:
            row = db.execute("SELECT * FROM app WHERE app_id = ?", (app_id,)).fetchone()
        if row is None:
            return None
        self._known[app_id] = AppAccount(*row)
        return self._known[app_id]

    def apps(self) -> list[AppAccount]:
        with self._border() as db:
            rows = db.execute("SELECT * FROM app ORDER BY created_ms, app_id").fetchall()
        return [AppAccount(*row) for row in rows]

    def add_app(
        self,
        name: str,
        now_ms: int,
        *,
        app_id: str | None = None,
        if_missing: bool = False,
        demo: bool = False,
    ) -> AppAccount:
        """Make an app.

        Args:
            name: For people.
            now_ms: Unix milliseconds.
            app_id: One is made if None.
            if_missing: An app of this id is good enough.
            demo: Its events will be made up.

        Raises:
            RequestFault: The id is not one, or is taken.

        """
        app_id = app_id or secrets.token_hex(12)
        if not APP_ID.match(app_id):
            raise RequestFault(
                f"an app id is 1 to 64 letters, digits, _ or - and begins with no -,"
                f" got {app_id[:80]!r}",
                field="id",
            )
        if not name.strip() or len(name) > 200:
            raise RequestFault("a name has 1 to 200 characters", field="name")
        key = secrets.token_urlsafe(18)
        made = AppAccount(app_id, name.strip(), key, now_ms, demo=int(demo))
        with self._border(changing=True) as db:
            done = db.execute(
                "INSERT INTO app VALUES (?, ?, ?, ?, NULL, ?) ON CONFLICT (app_id) DO NOTHING",
                (made.app_id, made.name, made.tracking_key, made.created_ms, made.demo),
            )
            if not done.rowcount:  # somebody has it, perhaps since a moment ago
                if if_missing:
                    row = db.execute("SELECT * FROM app WHERE app_id = ?", (app_id,)).fetchone()
                    return AppAccount(*row)
                raise RequestFault(f"the app {app_id!r} exists already", field="id", status=409)
        return made

    def keep_for(self, app_id: str, days: int | None) -> AppAccount:
        """Say how many days an app's events are kept: 0 for ever, None as the settings say.

        Raises:
            RequestFault: No such app, or no such number of days.

        """
        if days is not None and not 0 <= days <= MOST_DAYS:
            raise RequestFault(f"events are kept 1 to {MOST_DAYS} days, got {days}", field="days")
        with self._border(changing=True) as db:
            done = db.execute("UPDATE app SET retention_days = ? WHERE app_id = ?", (days, app_id))
        self._known.pop(app_id, None)
        found = self.app(app_id) if done.rowcount else None
        if found is None:
            raise RequestFault(f"there is no app {app_id[:80]!r}", field="app_id", status=404)
        return found

    def remove_app(self, app_id: str) -> bool:
        """Take an app, its tokens and its keys away; return whether there was one."""
        with self._border(changing=True) as db:
            db.execute("DELETE FROM token WHERE app_id = ?", (app_id,))
            db.execute("DELETE FROM secret_key WHERE app_id = ?", (app_id,))
            db.execute("DELETE FROM publishable_key WHERE app_id = ?", (app_id,))
            done = db.execute("DELETE FROM app WHERE app_id = ?", (app_id,))
        self._known.pop(app_id, None)
        return bool(done.rowcount)

    # --- keys of the Bucket API (BUCKET.md §1) -------------------------------------------------

    def app_of_key(self, kind: str, text: str) -> str | None:
        """Return the app that a key opens, None if it opens none.

        Args:
            kind: ``path`` for a tracking key; ``publishable``; ``bearer`` for a secret key or a
                publishable one.
            text: As shown. A secret key is looked up by its digest: how long that takes tells
                something of a digest, and nobody can choose one.

        """
        tables = {
            "path": ("SELECT app_id FROM app WHERE tracking_key = ?", text),
            "secret": ("SELECT app_id FROM secret_key WHERE digest = ?", _digest(text)),
            "publishable": ("SELECT app_id FROM publishable_key WHERE text = ?", text),
        }
        for one in ("secret", "publishable") if kind == "bearer" else (kind,):
            question, value = tables[one]
            with self._border() as db:
                row = db.execute(question, (value,)).fetchone()
            if row is not None:
                return str(row[0])
        return None

    def publishable_key(self, app_id: str) -> str:
        """Return an app's publishable key; it is made when it is first asked for."""
        made = PUBLISHABLE_MARK + secrets.token_urlsafe(18)
        with self._border(changing=True) as db:
            db.execute(
                "INSERT INTO publishable_key VALUES (?, ?) ON CONFLICT (app_id) DO NOTHING",
                (app_id, made),
            )
            found = "SELECT text FROM publishable_key WHERE app_id = ?"
            (text,) = db.execute(found, (app_id,)).fetchone()
        return str(text)

    def new_secret_key(self, app_id: str, now_ms: int, *, replace: bool = True) -> str | None:
        """Make an app's secret key and return it; it is shown this once, the old one is void.

        SDKs take only keys of more than 22 characters (BUCKET.md §1). Of it, a digest is kept.

        Args:
            app_id: The app.
            now_ms: Unix milliseconds.
            replace: False makes none, and returns None, if there is one.

        Raises:
            RequestFault: No such app.

        """
        if self.app(app_id) is None:
            raise RequestFault(f"there is no app {app_id[:80]!r}", field="app_id", status=404)
        text = SECRET_MARK + secrets.token_urlsafe(32)
        verb = (
            "INSERT INTO secret_key VALUES (?, ?, ?) ON CONFLICT (app_id) DO NOTHING",
            "INSERT OR REPLACE INTO secret_key VALUES (?, ?, ?)",
        )[replace]
        with self._border(changing=True) as db:
            done = db.execute(verb, (app_id, _digest(text), now_ms))
        return text if done.rowcount else None

    # --- tokens --------------------------------------------------------------------------------

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
        if self.app(app_id) is None:
            raise RequestFault(f"there is no app {app_id[:80]!r}", field="app_id", status=404)
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise RequestFault(f"a token lasts 1 to {MOST_DAYS} days, got {days}", field="days")
        text = TOKEN_MARK + secrets.token_urlsafe(32)
        while _prefix(text).startswith("-"):  # `token revoke -Ab3dEf6` would be a flag
            text = TOKEN_MARK + secrets.token_urlsafe(32)
        with self._border(changing=True) as db:
            db.execute(
                "INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (
                    _prefix(text),
                    _digest(text),
                    app_id,
                    " ".join(wanted),
                    now_ms,
                    None if days is None else now_ms + days * DAY_MS,
                ),
            )
        return text

    def grant(self, text: str, now_ms: int) -> Grant | None:
        """Return what a token opens, None if it opens nothing (any more)."""
        digest = _digest(text)
        with self._border() as db:
            rows = db.execute("SELECT * FROM token WHERE prefix = ?", (_prefix(text),)).fetchall()
        found: Grant | None = None
        for row in rows or [("", b"\0" * 32, "", "", 0, None, None)]:  # a dummy to compare
            same = hmac.compare_digest(bytes(row[1]), digest)
            if same and (row[5] is None or row[5] > now_ms):
                found = _grant(row)
        if found is not None and found.used_day != now_ms // DAY_MS:
            with self._border(changing=True) as db:
                db.execute(
                    "UPDATE token SET used_day = ? WHERE digest = ?", (now_ms // DAY_MS, digest)
                )
        return found

    def tokens(self, app_id: str | None = None) -> list[Grant]:
        with self._border() as db:
            rows = db.execute(
                "SELECT * FROM token WHERE ?1 IS NULL OR app_id = ?1 ORDER BY created_ms", (app_id,)
            ).fetchall()
        return [_grant(row) for row in rows]

    def revoke(self, prefix: str) -> int:
        """Take tokens back by their first eight characters (after ``dat1_``); return how many."""
        with self._border(changing=True) as db:
            done = db.execute("DELETE FROM token WHERE prefix = ?", (_prefix(prefix),))
        return done.rowcount


def _grant(row: tuple[str, bytes, str, str, int, int | None, int | None]) -> Grant:
    prefix, _, app_id, scopes, created_ms, expires_ms, used_day = row
    return Grant(prefix, app_id, frozenset(scopes.split()), created_ms, expires_ms, used_day)


def _prefix(text: str) -> str:
    return text.removeprefix(TOKEN_MARK)[:PREFIX_CHARS]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
