"""Parquet, written by an engine of its own that can touch the one file and nothing else.

The serving engine may not reach any file (its configuration is locked); so a second one in memory
does it, in the process of the command. Lines go to it through a pipe and out of it into the file,
so memory stays small however much there is.

Moments are TIMESTAMP WITH TIME ZONE (UTC); what is absent is NULL; payloads are JSON text.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from collector.intake.rows import named
from collector.store.interface import Stored
from tracking.errors import DiskFull, StorageFault

Shape = Mapping[str, str]

#: Column by column: its type; MOMENT are milliseconds that become a moment.
_TEXT, _WHOLE, _REAL, _MOMENT = "VARCHAR", "BIGINT", "DOUBLE", "MOMENT"

EVENTS: Final[Shape] = {
    "type": _TEXT,
    "name": _TEXT,
    "date": _MOMENT,
    "received_at": _MOMENT,
    "id": _TEXT,
    "app_id": _TEXT,
    "session_id": _TEXT,
    "user_id": _TEXT,
    "anon_id": _TEXT,
    "device_id": _TEXT,
    "company_id": _TEXT,
    "country": _TEXT,
    "client": _TEXT,
    "module_version": _TEXT,
    "platform": _TEXT,
    "os_version": _TEXT,
    "total_ram": _WHOLE,
    "version": _TEXT,
    "language": _TEXT,
    "arch": _TEXT,
    "process": _TEXT,
    "flags": _WHOLE,
    "payload": _TEXT,
}
_SOMEONE: Final[Shape] = {
    "app_id": _TEXT,
    "id": _TEXT,
    "first_seen": "TIMESTAMPTZ",
    "last_seen": "TIMESTAMPTZ",
    "attributes": _TEXT,
    "companies": _TEXT,
}
FACTS: Final[Mapping[str, Shape]] = {
    "users": _SOMEONE,
    "companies": {name: type_ for name, type_ in _SOMEONE.items() if name != "companies"},
    "feedback": {
        "app_id": _TEXT,
        "feedback_id": _TEXT,
        "feature": _TEXT,
        "user_id": _TEXT,
        "company_id": _TEXT,
        "score": _REAL,
        "comment": _TEXT,
        "source": _TEXT,
        "question": _TEXT,
        "prompt_id": _TEXT,
        "date": "TIMESTAMPTZ",
        "received_at": "TIMESTAMPTZ",
    },
    "stays": {
        "app_id": _TEXT,
        "device_id": _TEXT,
        "session_id": _TEXT,
        "user_id": _TEXT,
        "since": "TIMESTAMPTZ",
        "until": "TIMESTAMPTZ",
    },
}
_ENCODE: Final = msgspec.json.Encoder().encode
_OBJECTS: Final = frozenset({"attributes", "companies"})


def encoded_rows(rows: Iterable[Stored]) -> bytes:
    """Return events as lines with the columns of :data:`EVENTS`."""
    return b"".join(
        _ENCODE(
            {
                "type": named(row)[0],
                "name": named(row)[1] or None,
                "date": row.ts,
                "received_at": row.recv_ts,
                "id": row.event_id or None,
                "app_id": row.app_id,
                "session_id": row.session_id or None,
                "user_id": row.user_id or None,
                "anon_id": row.anon_id or None,
                "device_id": row.device_id or None,
                "company_id": row.company_id or None,
                "country": row.country or None,
                "client": row.client or None,
                "module_version": row.module_version or None,
                "platform": row.platform or None,
                "os_version": row.os_version or None,
                "total_ram": row.avail_ram or None,
                "version": row.version or None,
                "language": row.locale or None,
                "arch": row.arch or None,
                "process": row.process or None,
                "flags": row.flags,
                "payload": row.payload or None,
            }
        )
        + b"\n"
        for row in rows
    )


def encoded_facts(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Return lines of :mod:`collector.bulk.fact_lines` with the columns of :data:`FACTS`."""
    for part in parts:
        lines = []
        for line in part.splitlines():
            said: dict[str, Any] = msgspec.json.decode(line)
            lines.append(_ENCODE({_snake(key): _cell(key, value) for key, value in said.items()}))
        yield b"".join(line + b"\n" for line in lines)


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)


def _cell(key: str, value: object) -> object:
    return _ENCODE(value).decode() if key in _OBJECTS else value


def write(target: Path, shape: Shape, parts: Iterable[bytes]) -> None:
    """Write lines as a new Parquet file, synced.

    Args:
        target: Must not exist; made 0600.
        shape: The columns. Keys of lines that it does not name are left out.
        parts: Lines of JSON.

    Raises:
        DiskFull: The disk is.
        StorageFault: It cannot be written. What is there of it is to be removed.

    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    reading, writing = os.pipe()
    engine = _Engine(target, shape, reading)
    engine.start()
    try:
        with os.fdopen(writing, "wb") as lines:
            for part in parts:
                lines.write(part)
    except BrokenPipeError:
        engine.join()
        if engine.error is None:
            raise
    finally:
        engine.join()
    if engine.error is not None:
        said = str(engine.error).splitlines()[0][:200]
        full = "No space left" in said or "File too large" in said
        raise (DiskFull if full else StorageFault)(f"{target} cannot be written: {said}")
    with target.open("rb") as written:
        os.fsync(written.fileno())


class _Engine(threading.Thread):
    """The second engine; ends with the lines."""

    def __init__(self, target: Path, shape: Shape, reading: int) -> None:
        super().__init__(name="parquet")
        self.target = target
        self.shape = shape
        self.reading = reading
        self.error: duckdb.Error | None = None

    def run(self) -> None:
        try:
            source = f"/dev/fd/{self.reading}"
            with contextlib.closing(duckdb.connect(":memory:", config=_config())) as db:
                db.execute("SET TimeZone = 'UTC'")
                db.execute("SET allowed_paths = [$1, $2]", [source, str(self.target)])
                db.execute("SET enable_external_access = false")
                db.execute("SET lock_configuration = true")
                columns = {
                    name: _WHOLE if type_ == _MOMENT else type_
                    for name, type_ in self.shape.items()
                }
                chosen = ", ".join(_chosen(name, type_) for name, type_ in self.shape.items())
                declared = ", ".join(f"{name}: '{type_}'" for name, type_ in columns.items())
                db.execute(
                    f"COPY (SELECT {chosen} FROM read_json($source,"  # noqa: S608 - our own
                    f" format = 'newline_delimited', columns = {{{declared}}},"
                    " maximum_object_size = 67108864)) TO $target"
                    " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)",
                    {"source": source, "target": str(self.target)},
                )
        except duckdb.Error as exc:
            self.error = exc
        finally:
            os.close(self.reading)  # whoever still writes is told


def _config() -> dict[str, str | bool | int | float | list[str]]:
    return {
        "threads": 1,
        "memory_limit": "512MB",
        "preserve_insertion_order": True,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def _chosen(name: str, type_: str) -> str:
    return f"epoch_ms({name}) AT TIME ZONE 'UTC' AS {name}" if type_ == _MOMENT else name
