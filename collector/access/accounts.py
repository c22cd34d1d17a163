"""The accounts: which apps exist, by which keys they report, and who may ask about them.

A small SQLite file beside the store (:mod:`collector.access.accounts_file`); the tokens are in
:mod:`collector.access.tokens`.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from collector.access.tokens import DAY_MS, MOST_DAYS, SCOPES, Grant, Tokens, digest_of
from tracking.errors import RequestFault

__all__ = ["APP_ID", "DAY_MS", "MOST_DAYS", "SCOPES", "Accounts", "AppAccount", "Grant"]

APP_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\Z")  #: Never taken for a flag.
SECRET_MARK = "sec_"  # noqa: S105 - the public prefix
PUBLISHABLE_MARK = "pub_"


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


class Accounts(Tokens):
    """Apps, their keys and their tokens. Any thread may call; several processes may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._known: dict[str, AppAccount] = {}

    def app(self, app_id: str) -> AppAccount | None:
        """Return an app; unknown ones are asked for again each time, known ones are remembered."""
        known = self._known.get(app_id)
        if known is not None or not APP_ID.match(app_id):
            return known
        with self.border() as db:
            row = db.execute("SELECT * FROM app WHERE app_id = ?", (app_id,)).fetchone()
        if row is None:
            return None
        self._known[app_id] = AppAccount(*row)
        return self._known[app_id]

    def forget(self) -> None:
        """Remember no app: another process may have changed them."""
        self._known.clear()

    def apps(self) -> list[AppAccount]:
        with self.border() as db:
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
        with self.border(changing=True) as db:
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
        with self.border(changing=True) as db:
            done = db.execute("UPDATE app SET retention_days = ? WHERE app_id = ?", (days, app_id))
        self._known.pop(app_id, None)
        found = self.app(app_id) if done.rowcount else None
        if found is None:
            raise RequestFault(f"there is no app {app_id[:80]!r}", field="app_id", status=404)
        return found

    def remove_app(self, app_id: str) -> bool:
        """Take an app, its tokens and its keys away; return whether there was one."""
        with self.border(changing=True) as db:
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
            "secret": ("SELECT app_id FROM secret_key WHERE digest = ?", digest_of(text)),
            "publishable": ("SELECT app_id FROM publishable_key WHERE text = ?", text),
        }
        for one in ("secret", "publishable") if kind == "bearer" else (kind,):
            question, value = tables[one]
            with self.border() as db:
                row = db.execute(question, (value,)).fetchone()
            if row is not None:
                return str(row[0])
        return None

    def publishable_key(self, app_id: str) -> str:
        """Return an app's publishable key; it is made when it is first asked for."""
        made = PUBLISHABLE_MARK + secrets.token_urlsafe(18)
        with self.border(changing=True) as db:
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
        with self.border(changing=True) as db:
            done = db.execute(verb, (app_id, digest_of(text), now_ms))
        return text if done.rowcount else None
