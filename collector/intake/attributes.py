"""What can be asked about a payload: its attributes, each value with one spelling.

An attribute is a member of the payload itself whose value is text, a finite number or a boolean
(README of the official clients: nested values and lists are not supported; docs/numbers.md,
eventsprops). Its value is kept as canonical JSON, so that equal values are equal text in either
engine, and the JSON type is its first character.
"""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec

_ENCODE: Final = msgspec.json.Encoder().encode
_VALUES: Final = msgspec.json.Decoder(dict[str, object])
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VALUE: Final = msgspec.json.Decoder()
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
_MOST_DIGITS: Final = 309  #: A longer whole number is infinite to whoever counts in doubles.


def attributes_of(payload: bytes | str) -> tuple[list[str], list[str]]:
    """Return the names of a payload's attributes, sorted, and their values as canonical JSON.

    Numbers that are equal in value have one text: ``2``, ``2.0`` and ``2e0`` are ``2``, and
    minus zero is ``0``; what is not whole is written as short as it can be read back. Text has
    the escapes that JSON demands and no other.

    Args:
        payload: The sender's JSON object. Of what is none, there are no attributes.

    """
    try:
        members = _VALUES.decode(payload)
    except _UNREADABLE:
        members = _readable(payload)
    return attributes_among(members)


def attributes_among(members: dict[str, object]) -> tuple[list[str], list[str]]:
    """Do the same with a payload that was decoded already."""
    keys = sorted(members)
    values: list[str] = []
    for key in keys:
        value = members[key]
        shape = type(value)
        if shape is str:
            text = _ENCODE(value).decode()
        elif shape is int:
            text = str(value)
            if len(text) > _MOST_DIGITS:
                text = ""
        elif shape is bool:
            text = "true" if value else "false"
        elif shape is float:
            text = _number(value)  # type: ignore[arg-type]
        else:
            text = ""
        values.append(text)
    if "" in values:  # no JSON is empty: these are no attributes
        keys = [key for key, text in zip(keys, values, strict=True) if text]
        values = [text for text in values if text]
    return keys, values


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else _ENCODE(value).decode()


def _readable(payload: bytes | str) -> dict[str, object]:
    """Return the members that can be read, when one of them is a number beyond all bounds."""
    try:
        members = _MEMBERS.decode(payload)
    except _UNREADABLE:
        return {}
    found: dict[str, object] = {}
    for key, raw in members.items():
        with contextlib.suppress(*_UNREADABLE):
            found[key] = _VALUE.decode(raw)
    return found
