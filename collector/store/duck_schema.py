"""The tables of the embedded engine's file, and how an older file becomes one of today.

Formats 1 and 2 were the collector's before it knew Bucket; 3 is written now.
"""

from __future__ import annotations

from typing import Final

from collector.store.interface import TABLES, Stored

VERSION: Final = 3

_NUMBERS = {
    *("key_a", "key_b", "ts", "recv_ts", "said_ts", "avail_ram", "flags"),
    *("first_ts", "last_ts", "erased_ts", "until_ts"),
}
_LISTS = {"attr_keys", "attr_values"}


def column(name: str) -> str:
    """Return a column as a schema declares it."""
    if name in _LISTS:
        return f"{name} VARCHAR[] NOT NULL"
    if name == "score":
        return "score DOUBLE NOT NULL"
    return f"{name} {'BIGINT' if name in _NUMBERS else 'VARCHAR'} NOT NULL"


def table(shape: type) -> str:
    """Return the statement that makes the table of one class of facts."""
    fields: tuple[str, ...] = shape._fields  # type: ignore[attr-defined]
    return f"CREATE TABLE {TABLES[shape]} ({', '.join(column(name) for name in fields)})"


#: The engine's own tables, which say nothing about anybody: the format, and what
#: :meth:`DuckStore.compact` owes (how many deleted rows, since when).
OWN_TABLES: Final = ("schema_version", "unswept")
SCHEMA: Final = (
    "CREATE TABLE schema_version (version INTEGER NOT NULL)",
    "CREATE TABLE unswept (deleted BIGINT NOT NULL, since_ms BIGINT NOT NULL)",
    *(table(shape) for shape in TABLES),
    f"INSERT INTO schema_version VALUES ({VERSION})",  # noqa: S608 - a number of our own
)
NEW_COLUMNS: Final = Stored._fields[25:]  #: Of events, since format 3.
