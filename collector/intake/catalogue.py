"""Which names are counted: bounded, so that a flood of names cannot blow up what is kept of them.

An app has so many event names and an event so many attributes; what comes beyond is stored, and
counted under ``(other)`` with its own name beside it, or kept in the payload alone (SECURITY.md,
threat 53). Names are the row names of docs/numbers.md (eventsprops): ``error:`` and types that
only a client knows stand beside events, and share their bound.

    write ─► fold ─► rows to store, and the names that are new ─► one commit
                     └─ it failed: take_back, so that the next event with the name writes it again

One thread calls: the writer. Two collectors on one store each keep the bound by themselves, and
learn each other's names when they read the table again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from collector.store.interface import KEYS_DROPPED, NAME_FOLDED, OTHER, Named, Stored

MOST_NAMES: Final = 500
MOST_KEYS: Final = 200
NAMES: Final = "SELECT DISTINCT app_id, event, key FROM catalogue"

_ROWS: Final = {"init": "init", "userid": "nucleus:userid", "props": "nucleus:props"}
_LIST: Final = msgspec.json.Encoder()


def row_name(row: Stored) -> str:
    """Return the name under which an event is counted."""
    kind = row.kind
    if kind == "event":
        return row.name
    if kind == "error":
        return f"error:{row.name}"
    return _ROWS.get(kind) or row.type


class Catalogue:
    """The names of all apps.

    Args:
        most_names: Of one app.
        most_keys: Of one name.

    """

    def __init__(self, most_names: int = MOST_NAMES, most_keys: int = MOST_KEYS) -> None:
        self.most_names = most_names
        self.most_keys = most_keys
        self._apps: dict[str, dict[str, set[str]]] = {}

    def load(self, named: Iterable[Sequence[str]]) -> None:
        """Know these names, as the table has them, and no others."""
        self._apps = {}
        for app_id, event, key in named:
            keys = self._apps.setdefault(app_id, {}).setdefault(event, set())
            if key:
                keys.add(key)

    def fold(self, rows: Sequence[Stored]) -> tuple[list[Stored], list[Named]]:
        """Return rows with the names under which they are counted, and those that are new."""
        folded: list[Stored] = []
        new: list[Named] = []
        for row in rows:
            name = row[8] if row[6] == "event" else row_name(row)
            known = self._apps.get(row[0], {}).get(name)
            if known is None or not known.issuperset(row.attr_keys):
                row = self._folded(row, name, new)  # noqa: PLW2901 - as it is stored
            folded.append(row)
        return folded, new

    def take_back(self, new: Iterable[Named]) -> None:
        """Forget names that could not be written."""
        for app_id, event, key in new:
            if key:
                self._apps[app_id].get(event, set()).discard(key)
            else:
                self._apps[app_id].pop(event, None)

    def _folded(self, row: Stored, name: str, new: list[Named]) -> Stored:
        app_id = row.app_id
        names = self._apps.setdefault(app_id, {})
        known = names.get(name)
        if known is None:
            if len(names) >= self.most_names and not _bounded(name):
                row = _renamed(row)
                name = row_name(row)
                known = names.get(name)
            if known is None:
                known = names[name] = set()
                new.append(Named(app_id, name, ""))
        if known.issuperset(row.attr_keys):
            return row
        kept = []
        for at, key in enumerate(row.attr_keys):
            if key not in known:
                if len(known) >= self.most_keys:
                    continue
                known.add(key)
                if key:  # the empty one would be the event itself
                    new.append(Named(app_id, name, key))
            kept.append(at)
        if len(kept) == len(row.attr_keys):
            return row
        return row._replace(
            attr_keys=[row.attr_keys[at] for at in kept],
            attr_values=[row.attr_values[at] for at in kept],
            flags=row.flags | KEYS_DROPPED,
        )


def _bounded(name: str) -> bool:
    """Whether a name is one of ours, of which there are few."""
    return name in {OTHER, f"error:{OTHER}", *_ROWS.values()}


def _renamed(row: Stored) -> Stored:
    """Return an event under the name of all others, with its own beside it."""
    flags = row.flags | NAME_FOLDED
    if row.kind in {"event", "error"}:
        return row._replace(name=OTHER, raw_name=row.name, flags=flags)
    both = _LIST.encode([row.type, row.name]).decode()
    return row._replace(type=OTHER, raw_name=both, flags=flags)
