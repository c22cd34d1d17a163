"""What may be asked about the shapes of events, and what was marked in them (docs/lint.md)."""

from __future__ import annotations

import msgspec

from agent.door.asking import Request


class PropertyShape(msgspec.Struct, frozen=True, kw_only=True):
    """One property of a shape.

    Attributes:
        path: ``payload.user.email``, ``userId``; ``payload.items[].sku`` within a list.
        kinds: text, number, flag, nothing, list, object → how often.
        seen: How often in all.
        first_ms: When it was seen first.
        last_ms: When last.
        new: It came when the shape was known already.
        marks: ``odd-kind`` and ``personal:email`` → how often.

    """

    path: str
    kinds: dict[str, int]
    seen: int
    first_ms: int
    last_ms: int
    new: bool
    marks: dict[str, int]


class ShapeOf(msgspec.Struct, frozen=True, kw_only=True):
    """What one app says under one name.

    Attributes:
        app_id: The app.
        language: ``nucleus`` or ``bucket``.
        type: ``event``, ``error``, …; of Bucket ``user``, ``company``, ….
        name: Its name, None where the type has none.
        seen: Events that were looked at.
        first_ms: When it was seen first.
        last_ms: When last.
        new: It came when the app was known already.
        properties: By path.

    """

    app_id: str
    language: str
    type: str
    name: str | None
    seen: int
    first_ms: int
    last_ms: int
    new: bool
    properties: tuple[PropertyShape, ...]


class Shapes(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned.

    Attributes:
        shapes: By app and name.
        seen: Events that were looked at.
        passed: Events in all, since the app was first seen.
        unlearned: Names and properties that found no room.

    """

    shapes: tuple[ShapeOf, ...]
    seen: int
    passed: int
    unlearned: int


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person may want to see.

    Attributes:
        what: ``new-name``, ``new-property``, ``odd-kind``, ``personal``.
        path: Of the property; empty for the name.
        detail: What looks personal: ``email``, ``phone``, ….
        count: How often.
        last_ms: When it was seen last.

    """

    app_id: str
    language: str
    type: str
    name: str
    what: str
    path: str = ""
    detail: str = ""
    count: int
    last_ms: int


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What was marked, newest first."""

    marks: tuple[Marked, ...]
    in_all: int


class ListShapes(Request[Shapes], frozen=True, kw_only=True):
    """Ask what was learned of an app, or of all."""

    app_id: str | None = None


class ReadMarks(Request[Marks], frozen=True, kw_only=True):
    """Ask what was marked."""

    app_id: str | None = None
    limit: int = 200


class ForgetShapes(Request[Shapes], frozen=True, kw_only=True):
    """Have what was learned of an app forgotten; answers with what is left."""

    app_id: str
