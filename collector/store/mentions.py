"""How an id may stand in text that is kept byte for byte."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


def spellings(ids: Iterable[str]) -> list[str]:
    """Return how ids stand in JSON: with their letters, or with escapes for them."""
    return sorted({way for id_ in ids for way in _ways(id_)})


def _ways(id_: str) -> tuple[str, str]:
    escaped = "".join(c if c.isascii() else _escape(c) for c in id_)
    return (
        msgspec.json.encode(id_).decode(),
        msgspec.json.encode(escaped).decode().replace("\\\\u", "\\u"),
    )


def _escape(char: str) -> str:
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
