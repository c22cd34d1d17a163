"""How an outbox is opened, whatever is at its path, and what was found there.

The ladder: complete an interrupted mending · examine the file · refuse one from the future,
unread · open, upgrade, load · on damage: keep the log, set the file aside, go on with what can be
read. Nothing but a folder that cannot be used, a disk without room for a new file, or a newer
file stops it.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from agent.adapters.machine.private_files import make_folder
from agent.adapters.outbox.file import (
    Trust,
    as_fault,
    beside,
    companions,
    examine,
    open_database,
    unusable,
)
from agent.adapters.outbox.migrations import VERSION, Newer, refuse_newer, upgrade
from agent.adapters.outbox.reserve import Reserve
from agent.adapters.outbox.salvage import keep_log, mend, resume
from agent.adapters.outbox.wal import forgotten
from agent.rules.wording import events
from tracking.errors import Damaged, DiskFull, StorageFault

log = logging.getLogger("agent.outbox")

CHECKED_BYTES = 32 * 1024 * 1024  #: Larger files are checked as they are read.

UNWRITTEN = (sqlite3.IntegrityError, LookupError, TypeError, ValueError, OverflowError)

Load = Callable[[sqlite3.Connection], None]


@dataclass(slots=True)
class Opening:
    """What was found at the start, for the person who starts it.

    Attributes:
        upgraded_from: Version of the file before, if it was older.
        salvaged: Events carried over from a file that was set aside.
        damaged: Events that were accepted and could not be read.
        set_aside: Where the old file is.
        differences: Where the ledger did not fit the rows, by app and upstream.
        notices: The same in sentences.

    """

    upgraded_from: int | None = None
    salvaged: int = 0
    damaged: int = 0
    set_aside: Path | None = None
    differences: dict[tuple[str, str], int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def book(self, app_id: str, upstream: str, difference: int) -> None:
        """Note what did not fit in one stream."""
        self.differences[app_id, upstream] = difference
        if difference > 0:
            self.damaged += difference
            self.notices.append(
                f"{events(difference)} of {app_id} could not be read back from disk, "
                "counted as lost (damaged)."
            )
        else:
            self.notices.append(
                f"{events(-difference)} of {app_id} on disk that the ledger knew as gone, "
                "to be sent again; the far end recognises repeats."
            )
        log.error("the ledger did not fit its rows app=%s difference=%d", app_id, difference)


def start(path: Path, opening: Opening, reserve: Reserve, load: Load) -> sqlite3.Connection:
    """Open what is at ``path``, or what can be read of it.

    Raises:
        StorageFault: As :meth:`agent.adapters.outbox.outbox.Outbox.open` says.

    """
    make_folder(path.parent)
    try:
        resume(path)
        trust = examine(path, opening.notices)
        if trust is Trust.EXPOSED:
            return replace(path, None, "others could open it", opening, reserve, (), load)
        refuse_newer(path)
        return _open(path, opening, reserve, load, had_log=trust is Trust.OURS)
    except Newer as newer:
        raise StorageFault(
            f"{path} was written by a newer Homing (format {newer.version}, this one knows "
            f"{VERSION})",
            advice="Install that version again; the file was left as it is.",
        ) from newer
    except OSError as exc:
        raise unusable(path, exc) from exc


def _open(
    path: Path, opening: Opening, reserve: Reserve, load: Load, *, had_log: bool
) -> sqlite3.Connection:
    db: sqlite3.Connection | None = None
    for last_try in (False, True):
        try:
            db = open_database(path)
            if had_log and (commits := forgotten(path)):
                raise sqlite3.DatabaseError(f"{commits} commits behind a damaged log frame")
            if path.stat().st_size <= CHECKED_BYTES:
                (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
            opening.upgraded_from = upgrade(db) or None
            load(db)
            break
        except UNWRITTEN as exc:
            return replace(
                path, db, f"it holds what nobody wrote: {exc}", opening, reserve, (), load
            )
        except sqlite3.DatabaseError as exc:
            fault = as_fault(exc, path)
            code = getattr(exc, "sqlite_errorcode", 0)
            if isinstance(fault, Damaged) or code == sqlite3.SQLITE_ERROR:  # a table is missing
                return replace(path, db, str(exc), opening, reserve, (), load)
            if db is not None:
                db.close()
            if last_try or not isinstance(fault, DiskFull):
                raise fault from exc
            reserve.release()  # opening needs a little room, too
        except Damaged as exc:
            return replace(path, db, str(exc), opening, reserve, (), load)
    assert db is not None
    if opening.upgraded_from:
        opening.notices.append(
            f"The outbox was upgraded from format {opening.upgraded_from} to {VERSION}."
        )
    return db


def replace(
    path: Path,
    db: sqlite3.Connection | None,
    why: str,
    opening: Opening,
    reserve: Reserve,
    known: Collection[tuple[int, str, str]],
    load: Load,
) -> sqlite3.Connection:
    """Set the file aside and open a new one with what can be read of it.

    Raises:
        StorageFault: There is no room for a new file; the old one is where it was.

    """
    aside = beside(path, "damaged")

    def let_go() -> None:
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    try:
        keep_log(path, aside)
        saved = mend(path, aside, known, let_go)
        fresh = open_database(path)
        load(fresh)
    except (OSError, sqlite3.DatabaseError) as exc:
        reserve.release()
        if not aside.exists():
            for name in companions(aside):
                name.unlink(missing_ok=True)
        fault = unusable(path, exc) if isinstance(exc, OSError) else as_fault(exc, path)
        log.exception("a damaged outbox could not be replaced code=%s", fault.code)
        raise fault from exc
    opening.salvaged += saved
    opening.set_aside = aside
    opening.notices.append(
        f"The outbox was set aside as {aside.name} ({why}); carried over: {events(saved)}."
    )
    log.error("set the outbox aside, carried over what could be read events=%d why=%s", saved, why)
    return fresh
