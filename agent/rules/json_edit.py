"""Changing what stands at a place in a JSON text, and nothing else.

Values are handled as the bytes in which they were sent and are never decoded as a whole: what is
not changed keeps its digits, escapes and blanks. Only the objects and arrays on the way to a
change are written anew, compact, their keys as msgspec spells them.

    $.payload.email          a member              $.payload..token    at any depth below
    $.payload['first name']  a member              $.payload.items[*]  every member or element
    $.payload.items[0]       an element            $.payload.*.name    the same, by a star

Invariants:
    1. A text in which nothing was changed is returned as the same object.
    2. Nothing recurses deeper than :data:`MOST_DEPTH`; what is nested deeper raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

MOST_DEPTH: Final = 64  #: Payloads are nested 8 deep at most; fields that nobody knows may not be.
MOST_STEPS: Final = 16

#: Gets a value's JSON text; returns what is to stand in its place, or None to remove it.
Act: TypeAlias = Callable[[bytes], bytes | None]
#: Gets a text; returns what is to stand in its place, or None to remove what holds it.
TextAct: TypeAlias = Callable[[str], str | None]

_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_ARRAY: Final = msgspec.json.Decoder(list[Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_ENCODER: Final = msgspec.json.Encoder()
_BLANKS: Final = b" \t\r\n"
_STEP: Final = re.compile(
    r"(?P<deep>\.\.)?(?:"
    r"(?P<dot>\.)?(?P<name>[^\W\d][\w-]*|\*)"
    r"|\[(?:(?P<star>\*)|(?P<index>[0-9]{1,6})|'(?P<single>[^']{1,128})'|\"(?P<double>[^\"]{1,128})\")\])"
)


class TooDeep(Exception):
    """A value is nested deeper than anybody looks."""


#: What says that a text cannot be looked at to its end: too deep, or half a sign in a string.
UNREADABLE: Final = (TooDeep, RecursionError, msgspec.MsgspecError, UnicodeError)


class Step(msgspec.Struct, frozen=True):
    """One step of a path.

    Attributes:
        name: The member; None for an element or for all.
        index: The element; None for a member or for all.
        deep: It may be any number of levels further down.

    """

    name: str | None = None
    index: int | None = None
    deep: bool = False


def parse_path(path: str) -> tuple[Step, ...]:
    """Read a path.

    Raises:
        ValueError: It is none; the sentence says where.

    """
    if not path.startswith("$"):
        raise ValueError(f"must begin with $, as in $.payload.email, got {path!r}")
    steps: list[Step] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or (found["name"] and not (found["dot"] or found["deep"])):
            raise ValueError(f"cannot be read from {path[at:]!r} on")
        if found["name"] and found["dot"] and found["deep"]:
            raise ValueError(f"cannot be read from {path[at:]!r} on")
        name = found["name"] or found["single"] or found["double"]
        index = None if found["index"] is None else int(found["index"])
        deep = found["deep"] is not None
        steps.append(Step(name=None if name == "*" else name, index=index, deep=deep))
        at = found.end()
    if not steps:
        raise ValueError("must name something within the event, as in $.payload.email")
    if len(steps) > MOST_STEPS:
        raise ValueError(f"has more than {MOST_STEPS} steps")
    return tuple(steps)


def edit(raw: bytes, steps: tuple[Step, ...], act: Act) -> bytes | None:
    """Apply ``act`` at every place that a path names.

    Returns:
        The text with the changes, ``raw`` itself if there were none, None if all of it goes.

    Raises:
        TooDeep: See invariant 2.

    """
    return _edit(raw, steps, 0, act, MOST_DEPTH)


def each_text(raw: bytes, act: TextAct) -> bytes | None:
    """Apply ``act`` to every text in a value: strings, the digits of numbers, and keys.

    A number becomes a string where its text is changed. A key for which ``act`` says None takes
    its value along.
    """
    return _each_text(raw, act, MOST_DEPTH)


def each_key(raw: bytes, act: TextAct) -> bytes | None:
    """Apply ``act`` to the keys of an object, and to nothing below them."""
    return _within(raw, lambda _, value: value, 1, keys=act)


def quoted(text: str) -> bytes:
    """Return a text as JSON."""
    return _ENCODER.encode(text)


def plain_text(raw: bytes) -> str:
    """Return the text of a value: of a string what it says, of anything else its JSON."""
    return _TEXT.decode(raw) if raw[:1] == b'"' else raw.decode()


def _edit(raw: bytes, steps: tuple[Step, ...], at: int, act: Act, left: int) -> bytes | None:
    if at == len(steps):
        return act(raw)
    step = steps[at]

    def inner(key: str | int, value: bytes) -> bytes | None:
        changed: bytes | None = value
        every = step.name is None and step.index is None
        if every or key in (step.name, step.index):
            changed = _edit(value, steps, at + 1, act, left - 1)
        if step.deep and changed is not None:
            changed = _edit(changed, steps, at, act, left - 1)
        return changed

    return _within(raw, inner, left)


def _each_text(raw: bytes, act: TextAct, left: int) -> bytes | None:
    first = raw[:1]
    if first in (b'"', b"-") or first.isdigit():
        text = plain_text(raw)
        said = act(text)
        if said is None:
            return None
        return raw if said == text else quoted(said)
    return _within(raw, lambda _, value: _each_text(value, act, left - 1), left, keys=act)


def _within(
    raw: bytes,
    inner: Callable[[str | int, bytes], bytes | None],
    left: int,
    *,
    keys: TextAct | None = None,
) -> bytes | None:
    """Change the members of an object, or the elements of an array; anything else stays."""
    raw_value = raw.strip(_BLANKS)
    first = raw_value[:1]
    if first not in (b"{", b"["):
        return raw
    if left <= 0:
        raise TooDeep
    changed = False
    parts: list[bytes] = []
    if first == b"[":
        for n, element in enumerate(_ARRAY.decode(raw_value)):
            before = bytes(element)
            after = inner(n, before)
            changed = changed or after is not before
            if after is not None:
                parts.append(after)
        return b"[" + b",".join(parts) + b"]" if changed else raw
    members: dict[str, bytes] = {}  # two keys that become one: the later one counts
    for key, member in _OBJECT.decode(raw_value).items():
        before = bytes(member)
        name = key if keys is None else keys(key)
        after = None if name is None else inner(key, before)
        changed = changed or name != key or after is not before
        if name is not None and after is not None:
            members[name] = after
    if not changed:
        return raw
    return b"{" + b",".join(quoted(k) + b":" + v for k, v in members.items()) + b"}"
