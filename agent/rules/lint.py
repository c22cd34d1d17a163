"""The shapes of what apps report, learned from looking, and what in an event is out of the usual.

A shape is what one app says under one name: which properties, of which kinds, how often. It is
made of names, kinds, counts and times, never of values; where a name itself looks like somebody's
(an object with e-mail addresses as keys), its kind stands in its place.

An event is *marked* where it says something new, something of an odd kind, or something that
looks personal (:mod:`agent.rules.personal`). Marks take nothing away and hold nothing up.

Invariants:
    1. What is learned is bounded: apps, shapes, properties, depth, elements of a list.
    2. No value is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import msgspec

from agent.rules import personal

Kind: TypeAlias = Literal["text", "number", "flag", "nothing", "list", "object"]
What: TypeAlias = Literal["new-name", "new-property", "odd-kind", "personal"]

MOST_APPS: Final = 200
MOST_SHAPES: Final = 300  #: Of one app.
MOST_PROPERTIES: Final = 200  #: Of one shape.
MOST_IN_ALL: Final = 5_000  #: Properties of all apps; some 400 bytes each.
MOST_DEPTH: Final = 4
MOST_ELEMENTS: Final = 8  #: Of a list that are looked at.
MOST_STEADY: Final = 16  #: Ways of filling a shape that are known by heart.
NAME_CHARS: Final = 128
KEY_CHARS: Final = 64
SETTLED_EVENTS: Final = 20  #: So often a shape is seen before a property is new, or a kind odd.
SETTLED_APP_EVENTS: Final = 100  #: The same for the names of an app.
USUAL: Final = 0.95  #: A kind that makes so much of a property is the usual one.
NEW_FOR_MS: Final = 7 * 86_400_000

USER: Final = "userId"
PAYLOAD: Final = ("payload",)

_KINDS: Final[dict[type, Kind]] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "flag",
    type(None): "nothing",
    list: "list",
    dict: "object",
}
_ID: Final = re.compile(r"[0-9]{1,20}|[0-9a-fA-F-]{16,64}|(?=.*[0-9])[A-Za-z0-9_-]{20,64}")


class Property(msgspec.Struct, omit_defaults=True):
    """One property of a shape.

    Attributes:
        kinds: Kind → how often.
        first_ms: When it was first seen, Unix milliseconds.
        last_ms: When last, or a little earlier.
        late: It came when the shape was known already.
        marks: What was marked (``odd-kind``, ``personal:email``) → how often.

    """

    first_ms: int
    last_ms: int
    kinds: dict[str, int] = {}
    late: bool = False
    marks: dict[str, int] = {}

    @property
    def seen(self) -> int:
        return sum(self.kinds.values())

    def is_odd(self, kind: str) -> bool:
        """Return whether a value of this kind is out of the usual; nothing never is."""
        if kind == "nothing":
            return False
        told = {k: n for k, n in self.kinds.items() if k != "nothing"}
        all_told = sum(told.values())
        if all_told < SETTLED_EVENTS or told.get(kind, 0) > all_told * (1 - USUAL):
            return False
        return max(told.values()) >= all_told * USUAL


class Shape(msgspec.Struct, omit_defaults=True):
    """What one app says under one name.

    Attributes:
        seen: Events that were looked at.
        late: The name came when the app was known already.
        unlearned: Properties that found no room.

    """

    first_ms: int
    last_ms: int
    seen: int = 0
    late: bool = False
    unlearned: int = 0
    properties: dict[str, Property] = {}


class AppShapes(msgspec.Struct, omit_defaults=True):
    """All shapes of one app; a key is ``language/type/name``."""

    seen: int = 0
    passed: int = 0  #: Events in all, looked at or not.
    unlearned: int = 0  #: Names that found no room.
    shapes: dict[str, Shape] = {}


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Something in an event that a person may want to see before it leaves.

    Attributes:
        what: ``new-name``, ``new-property``, ``odd-kind``, ``personal``.
        path: Where: ``payload.user.email``, ``userId``; empty for the name.
        detail: ``email`` of what is personal, ``text instead of number`` of an odd kind.

    """

    what: What
    path: str = ""
    detail: str = ""

    def __str__(self) -> str:
        said = self.what if not self.detail else f"{self.what}: {self.detail}"
        return f"{said} in {self.path}" if self.path else said


class _Found(msgspec.Struct, frozen=True):
    """One property of one event."""

    path: str
    key: str
    value: object


class Lint:
    """Learns, and judges by what was learned.

    Args:
        apps: What was learned before.

    """

    def __init__(self, apps: dict[str, AppShapes] | None = None) -> None:
        self.apps = apps or {}
        self.room = MOST_IN_ALL - sum(
            len(shape.properties) for app in self.apps.values() for shape in app.shapes.values()
        )
        self._steady: dict[tuple[str, str], dict[tuple[object, ...], int]] = {}

    # --- learning ----------------------------------------------------------------------------

    def learn(
        self,
        app_id: str,
        key: str,
        payload: bytes | None,
        now_ms: int,
        *,
        user_id: str | None = None,
    ) -> bool:
        """Look at one event; return whether something about it was new or marked.

        Args:
            app_id: Whose.
            key: Its :func:`shape_key`.
            payload: Its properties, a JSON object that was checked.
            now_ms: Unix milliseconds.
            user_id: Who did it, as the app says.

        """
        steady = self._steady.get((app_id, key))
        data: dict[str, Any] = {} if payload is None else _decode(payload)
        signature = (user_id is None, *data, *map(type, data.values()))
        plain = (payload is None or not personal.may_be_personal(payload)) and (
            user_id is None or not personal.of_text(user_id)
        )
        if plain and steady is not None and signature in steady:
            steady[signature] += 1
            return False
        if steady is not None:
            self._fold((app_id, key), now_ms)
        shape = self._shape(app_id, key, now_ms)
        if shape is None:
            return False
        fresh = shape.seen == 0
        news = self._look(shape, walk(data, user_id), now_ms) or fresh
        if not news and plain:
            self._know_by_heart(app_id, key, signature, data)
        return news

    def _shape(self, app_id: str, key: str, now_ms: int) -> Shape | None:
        app = self.apps.get(app_id)
        if app is None:
            if len(self.apps) >= MOST_APPS:
                return None
            app = self.apps[app_id] = AppShapes()
        shape = app.shapes.get(key)
        if shape is None:
            if len(app.shapes) >= MOST_SHAPES:
                app.unlearned += 1
                return None
            late = app.seen >= SETTLED_APP_EVENTS
            shape = app.shapes[key] = Shape(first_ms=now_ms, last_ms=now_ms, late=late)
        app.seen += 1
        return shape

    def _look(self, shape: Shape, event: Iterator[_Found], now_ms: int) -> bool:
        """Learn one event of a shape; return whether something was new or marked."""
        settled = shape.seen >= SETTLED_EVENTS
        shape.seen += 1
        shape.last_ms = now_ms
        news = False
        for found in event:
            known = shape.properties.get(found.path)
            if known is None:
                if len(shape.properties) >= MOST_PROPERTIES or self.room <= 0:
                    shape.unlearned += 1
                    continue
                self.room -= 1
                known = Property(first_ms=now_ms, last_ms=now_ms, late=settled)
                shape.properties[found.path] = known
                news = True
            kind = _KINDS[type(found.value)]
            for word in _words(known, found, kind):
                news = news or word not in known.marks
                known.marks[word] = known.marks.get(word, 0) + 1
            known.kinds[kind] = known.kinds.get(kind, 0) + 1
            known.last_ms = now_ms
        return news

    def _know_by_heart(
        self, app_id: str, key: str, signature: tuple[object, ...], data: dict[str, Any]
    ) -> None:
        """Only count events that look like this one from now on, if they can be told by their keys.

        Not what holds lists and objects, whose insides the signature does not tell, nor what is
        marked for a key's sake.
        """
        if any(type(value) in (list, dict) for value in data.values()):
            return
        told = {name: "?" if value == "" else value for name, value in data.items()}
        if any(personal.of_property(name, value) for name, value in told.items()):
            return  # also where nothing stands yet: the next one may be a password
        steady = self._steady.setdefault((app_id, key), {})
        if len(steady) < MOST_STEADY:
            steady[signature] = 0

    def fold(self, now_ms: int) -> None:
        """Count what was known by heart where all else is counted; before anybody reads it."""
        for place in self._steady:
            self._fold(place, now_ms)

    def _fold(self, place: tuple[str, str], now_ms: int) -> None:
        app_id, key = place
        app = self.apps.get(app_id)
        shape = None if app is None else app.shapes.get(key)
        if app is not None and shape is not None:
            for signature, count in self._steady[place].items():
                if not count:
                    continue
                self._steady[place][signature] = 0
                app.seen += count
                shape.seen += count
                shape.last_ms = now_ms
                half = len(signature) // 2 + 1
                told = [*zip(signature[1:half], signature[half:], strict=True)]
                if not signature[0]:
                    told.append((USER, str))
                for name, kind in told:
                    path = USER if name is USER else path_of(PAYLOAD, str(name))
                    known = shape.properties.get(path)
                    if known is not None and isinstance(kind, type):
                        word = _KINDS[kind]
                        known.kinds[word] = known.kinds.get(word, 0) + count
                        known.last_ms = now_ms

    def forget(self, app_id: str) -> None:
        """Forget all that was learned of an app."""
        app = self.apps.pop(app_id, None)
        if app is not None:
            self.room += sum(len(shape.properties) for shape in app.shapes.values())
        for place in [place for place in self._steady if place[0] == app_id]:
            del self._steady[place]

    # --- judging -----------------------------------------------------------------------------

    def marks(
        self,
        app_id: str,
        key: str,
        payload: bytes | None,
        now_ms: int,
        *,
        user_id: str | None = None,
    ) -> tuple[Mark, ...]:
        """Return what is out of the usual in one event; learns nothing."""
        app = self.apps.get(app_id)
        shape = None if app is None else app.shapes.get(key)
        marks: list[Mark] = []
        if shape is not None and shape.late and now_ms - shape.first_ms < NEW_FOR_MS:
            marks.append(Mark(what="new-name"))
        for found in walk({} if payload is None else _decode(payload), user_id):
            known = None if shape is None else shape.properties.get(found.path)
            place = found.path
            if known is not None and known.late and now_ms - known.first_ms < NEW_FOR_MS:
                marks.append(Mark(what="new-property", path=place))
            kind = _KINDS[type(found.value)]
            if known is not None and known.is_odd(kind):
                usual = max(known.kinds, key=lambda one: known.kinds[one])
                marks.append(Mark(what="odd-kind", path=place, detail=f"{kind} instead of {usual}"))
            marks += [Mark(what="personal", path=place, detail=word) for word in _personal(found)]
        return tuple(marks)


def shape_key(language: str, word: str, name: str | None) -> str:
    """Return what a shape goes by; a name that looks personal is not kept."""
    if name is None:
        return f"{language}/{word}"
    said = personal.of_text(name) if len(name) > 8 else ()
    return f"{language}/{word}/{f'<{said[0]}>' if said else name[:NAME_CHARS]}"


def path_of(above: tuple[str, ...], key: str) -> str:
    """Return the path of a property; keys that are data are one star."""
    return ".".join((*above, _plain_key(key)))


def walk(data: dict[str, Any], user_id: str | None) -> Iterator[_Found]:
    """Yield the properties of an event, those within lists and objects too, to a depth."""
    if user_id is not None:
        yield _Found(USER, USER, user_id)
    yield from _walk(data, PAYLOAD, MOST_DEPTH)


def _walk(data: dict[str, Any], above: tuple[str, ...], left: int) -> Iterator[_Found]:
    for key, value in data.items():
        path = path_of(above, key)
        yield _Found(path, key, value)
        for word in personal.of_text(key) if len(key) > 8 else ():
            yield _Found(f"{path} (its name)", word, None)
        if left <= 1:
            continue
        if type(value) is dict:
            yield from _walk(value, (*above, _plain_key(key)), left - 1)
        elif type(value) is list:
            inner = (*above, f"{_plain_key(key)}[]")
            for element in value[:MOST_ELEMENTS]:
                if type(element) is dict:
                    yield from _walk(element, inner, left - 1)
                else:
                    yield _Found(".".join(inner), key, element)


def _plain_key(key: str) -> str:
    if len(key) > KEY_CHARS or _ID.fullmatch(key) or (len(key) > 8 and personal.of_text(key)):
        return "*"
    return key


def _words(known: Property, found: _Found, kind: Kind) -> list[str]:
    """Return what is to be counted as marked on a property."""
    words = [f"personal:{word}" for word in _personal(found)]
    if known.is_odd(kind):
        words.append("odd-kind")
    return words


def _personal(found: _Found) -> tuple[str, ...]:
    value = found.value
    if value is None and found.path.endswith(" (its name)"):
        return (found.key,)
    by_key = personal.of_what_is_left(found.key, value)
    if isinstance(value, str):
        by_value = personal.of_text(value) if len(value) >= 5 else ()
        return by_value if by_key in by_value or not by_key else (by_key, *by_value)
    if type(value) is int and not by_key:
        by_key = personal.of_number(value)
    return (by_key,) if by_key else ()


_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


def _decode(payload: bytes) -> dict[str, Any]:
    """Return a payload's properties; none if one is a number that nobody could compute with."""
    try:
        return _DECODER.decode(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
