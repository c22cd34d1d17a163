"""Rows out of a damaged SQLite file, page by page, without asking SQLite to open it.

A database whose header, schema or inner pages are gone cannot be opened, yet nearly all of its
rows are still there: they live in leaf pages, each of which can be read alone (file format:
https://www.sqlite.org/fileformat2.html). So every page is looked at, and what has the form of a
row is handed out; whether it is one of ours, and whole, is for the caller's checksums to say.

Deleted rows do not come back: ``secure_delete`` overwrites them with zeros. Pages that the
write-ahead log holds newer take the place of the file's, see :mod:`agent.adapters.outbox.wal`.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = 4096  #: SQLite's default since 2016, and what we make our files with.
HEADER_BYTES = 100  #: Of the file, at the start of page 1.
TABLE_LEAF, INDEX_LEAF, INDEX_INNER = 0x0D, 0x0A, 0x02
MOST_PAYLOAD = 64 * 1024 * 1024  #: A row that claims more is damage.
INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)  #: By serial type.

Value = None | int | float | bytes | str
Pages = Callable[[int], bytes]  #: Number, from 1 → the page; empty if there is none.


@dataclass(frozen=True, slots=True)
class Found:
    """Something with the form of a row.

    Attributes:
        table: From a table's leaf; else from an index or a table WITHOUT ROWID.
        rowid: Its row number, 0 outside tables.
        form: One letter per column: n(ull) i(nteger) f(loat) t(ext) b(lob).
        values: Reads the columns; raises ValueError if they cannot be.

    """

    table: bool
    rowid: int
    form: str
    values: Callable[[], list[Value]]


@contextlib.contextmanager
def pages_of(path: Path, newer: Mapping[int, bytes]) -> Iterator[tuple[int, Pages]]:
    """Open a file for carving: how many pages it has, and how to get one."""
    with path.open("rb") as file:
        file.seek(0, 2)
        count = max(file.tell() // PAGE_BYTES, max(newer, default=0))

        def page(number: int) -> bytes:
            if number in newer:
                return newer[number]
            if not 1 <= number <= count:
                return b""
            try:
                file.seek((number - 1) * PAGE_BYTES)
                return file.read(PAGE_BYTES)
            except OSError:  # a bad sector costs the rows on it and no others
                return b""

        yield count, page


def carve(count: int, page: Pages) -> Iterator[Found]:
    """Yield everything in ``count`` pages that has the form of a row, in the order of pages."""
    for number in range(1, count + 1):
        raw = page(number)
        at = HEADER_BYTES if number == 1 else 0
        if len(raw) < PAGE_BYTES or raw[at] not in (TABLE_LEAF, INDEX_LEAF, INDEX_INNER):
            continue
        inner = raw[at] == INDEX_INNER
        (cells,) = struct.unpack_from(">H", raw, at + 3)
        pointers = at + (12 if inner else 8)
        for cell in range(min(cells, (PAGE_BYTES - pointers) // 2)):
            (start,) = struct.unpack_from(">H", raw, pointers + 2 * cell)
            with contextlib.suppress(ValueError, IndexError, struct.error):
                yield _cell(page, raw, start + (4 if inner else 0), table=raw[at] == TABLE_LEAF)


def _cell(page: Pages, raw: bytes, at: int, *, table: bool) -> Found:
    size, at = _varint(raw, at)
    rowid = 0
    if table:
        rowid, at = _varint(raw, at)
    if not 0 < size <= MOST_PAYLOAD:
        raise ValueError("a row of impossible length")
    # how much of a row stays on its own page: file format, "Cell Payload Overflow Pages"
    most = PAGE_BYTES - 35 if table else (PAGE_BYTES - 12) * 64 // 255 - 23
    if size <= most:
        local, first = raw[at : at + size], 0
    else:
        least = (PAGE_BYTES - 12) * 32 // 255 - 23
        here = least + (size - least) % (PAGE_BYTES - 4)
        here = here if here <= most else least
        local = raw[at : at + here]
        (first,) = struct.unpack_from(">I", raw, at + here)
    types, body_at = _types(local)

    def values() -> list[Value]:
        return _values(types, _whole(page, local, first, size), body_at)

    return Found(table, rowid, "".join(map(_letter, types)), values)


def _whole(page: Pages, local: bytes, overflow: int, size: int) -> bytes:
    """Return a row's bytes, following its overflow pages."""
    parts, missing = [local], size - len(local)
    while missing > 0:
        raw = page(overflow)
        if len(raw) < PAGE_BYTES:
            raise ValueError("a row goes on where there is no page")
        (overflow,) = struct.unpack_from(">I", raw, 0)
        part = raw[4 : 4 + missing]
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _types(local: bytes) -> tuple[list[int], int]:
    """Return the serial types of a record, and where its values begin."""
    end, at = _varint(local, 0)
    if not at < end <= len(local):
        raise ValueError("a record without its header")
    types = []
    while at < end:
        serial, at = _varint(local, at)
        types.append(serial)
    return types, end


def _letter(serial: int) -> str:
    match serial:
        case 0:
            return "n"
        case 7:
            return "f"
        case 1 | 2 | 3 | 4 | 5 | 6 | 8 | 9:
            return "i"
        case 10 | 11:
            raise ValueError("a type that SQLite does not write")
    return "t" if serial % 2 else "b"


def _values(types: list[int], raw: bytes, at: int) -> list[Value]:
    values: list[Value] = []
    for serial in types:
        if serial in (0, 8, 9):
            values.append(None if serial == 0 else serial - 8)
            continue
        if serial < 7:
            size = INTEGER_BYTES[serial]
        else:
            size = 8 if serial == 7 else (serial - 12) // 2
        part = raw[at : at + size]
        if len(part) != size:
            raise ValueError("a record shorter than it says")
        at += size
        if serial < 7:
            values.append(int.from_bytes(part, "big", signed=True))
        elif serial == 7:
            values.append(struct.unpack(">d", part)[0])
        else:
            values.append(part.decode() if serial % 2 else part)
    return values


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return a number of up to nine bytes, and where it ends."""
    value = 0
    for byte in raw[at : at + 8]:
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    value = value << 8 | raw[at]
    return (value - (1 << 64) if value >> 63 else value), at + 1
