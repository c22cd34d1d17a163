"""Typed stubs of what an app reports, as it was learned: for Python and for TypeScript.

Every name here came from outside. It becomes part of a program only as a literal, or as letters
and digits; a property is optional if it was not seen each time.
"""

from __future__ import annotations

import abc
import json
import keyword
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agent.door.lint import ShapeOf

Language: TypeAlias = Literal["python", "typescript"]

_PAYLOAD = "payload"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_TYPES = {
    "python": {"text": "str", "number": "float", "flag": "bool", "nothing": "None"},
    "typescript": {"text": "string", "number": "number", "flag": "boolean", "nothing": "null"},
}


@dataclass(slots=True)
class _Node:
    """One place of a payload: what was seen there, and what is below it."""

    kinds: dict[str, int] = field(default_factory=dict)
    below: dict[str, _Node] = field(default_factory=dict)
    elements: _Node | None = None

    @property
    def seen(self) -> int:
        return sum(self.kinds.values())


def stubs(app_id: str, shapes: Iterable[ShapeOf], language: Language) -> str:
    """Return a module with a type for each event of an app, and a `track` that knows them."""
    named = [shape for shape in shapes if shape.name and not shape.name.startswith("<")]
    writer = _Python() if language == "python" else _TypeScript()
    taken: set[str] = set()
    events: list[tuple[str, str]] = []
    for shape in named:
        title = _title(shape.name or "", taken)
        writer.record(title, _tree(shape), shape.seen, taken)
        events.append((shape.name or "", title))
    return writer.module(app_id, events)


def _tree(shape: ShapeOf) -> _Node:
    root = _Node()
    for one in shape.properties:
        steps = one.path.split(".")
        if steps[0] != _PAYLOAD or one.path.endswith(" (its name)"):
            continue
        node = root
        for step in steps[1:]:
            node = node.below.setdefault(step.removesuffix("[]"), _Node())
            if step.endswith("[]"):
                node.elements = node = node.elements or _Node()
        node.kinds = one.kinds
    return root


class _Writer(abc.ABC):
    """What the two languages have in common: records are written innermost first."""

    language: Language

    def __init__(self) -> None:
        self.lines: list[str] = []

    def record(self, title: str, node: _Node, seen: int, taken: set[str]) -> None:
        """Write the type of an object, after the types of the objects in it."""
        members = [
            (key, self.type_of(f"{title} {key}", inner, taken), inner.seen < seen)
            for key, inner in node.below.items()
            if key != "*"
        ]
        self.write(title, members, is_open="*" in node.below)

    def type_of(self, title: str, node: _Node, taken: set[str]) -> str:
        known = _TYPES[self.language]
        found = []
        for kind, seen in node.kinds.items():
            if kind == "object":
                name = _title(title, taken)
                self.record(name, node, seen, taken)
                found.append(name)
            elif kind == "list":
                found.append(self.list_of(self._element(title, node, taken)))
            else:
                found.append(known[kind])
        return " | ".join(dict.fromkeys(found)) or self.anything

    def _element(self, title: str, node: _Node, taken: set[str]) -> str:
        if node.elements is None:
            return self.anything
        element = node.elements
        if not element.kinds and element.below:
            element.kinds = {"object": max(one.seen for one in element.below.values())}
        return self.type_of(f"{title} item", element, taken)

    anything: str

    @abc.abstractmethod
    def list_of(self, element: str) -> str:
        """Return the type of a list."""

    @abc.abstractmethod
    def write(self, title: str, members: list[tuple[str, str, bool]], *, is_open: bool) -> None:
        """Write the type of an object: its members as name, type, and whether it is optional."""

    @abc.abstractmethod
    def module(self, app_id: str, events: list[tuple[str, str]]) -> str:
        """Return everything that was written, and the signature of `track`."""


class _Python(_Writer):
    language: Language = "python"
    anything = "Any"

    def list_of(self, element: str) -> str:
        return f"list[{element}]"

    def write(self, title: str, members: list[tuple[str, str, bool]], *, is_open: bool) -> None:
        told = [(k, f"NotRequired[{t}]" if optional else t) for k, t, optional in members]
        if is_open:
            self.lines += [f"{title} = dict[str, Any]", "", ""]
        elif all(_PLAIN.fullmatch(key) and not keyword.iskeyword(key) for key, _ in told):
            self.lines += [f"class {title}(TypedDict):"]
            self.lines += [f"    {key}: {kind}" for key, kind in told] or ["    pass"]
            self.lines += ["", ""]
        else:
            self.lines += [f"{title} = TypedDict(", f"    {json.dumps(title)},", "    {"]
            self.lines += [f"        {json.dumps(key)}: {kind}," for key, kind in told]
            self.lines += ["    },", ")", "", ""]

    def module(self, app_id: str, events: list[tuple[str, str]]) -> str:
        head = [
            f'"""The events of {_comment(app_id)}, as Homing has seen them."""',
            "",
            "from typing import Any, Literal, NotRequired, Protocol, TypedDict, overload",
            "",
            "",
        ]
        tail = ["class Track(Protocol):", '    """Reports one event."""']
        for name, title in events:
            tail += [
                "",
                *(["    @overload"] if len(events) > 1 else []),
                f"    def __call__(self, name: Literal[{json.dumps(name)}], payload: {title})"
                " -> None: ...",
            ]
        return "\n".join([*head, *self.lines, *tail]) + "\n"


class _TypeScript(_Writer):
    language: Language = "typescript"
    anything = "unknown"

    def list_of(self, element: str) -> str:
        return f"Array<{element}>"

    def write(self, title: str, members: list[tuple[str, str, bool]], *, is_open: bool) -> None:
        self.lines.append(f"export interface {title} {{")
        for key, kind, optional in members:
            said = key if _PLAIN.fullmatch(key) else json.dumps(key)
            self.lines.append(f"  {said}{'?' if optional else ''}: {kind};")
        if is_open:
            self.lines.append("  [key: string]: unknown;")
        self.lines += ["}", ""]

    def module(self, app_id: str, events: list[tuple[str, str]]) -> str:
        head = [f"// The events of {_comment(app_id)}, as Homing has seen them.", ""]
        tail = ["export interface Events {"]
        tail += [f"  {json.dumps(name)}: {title};" for name, title in events]
        tail += [
            "}",
            "",
            "export type Track = <N extends keyof Events>(name: N, payload: Events[N]) => void;",
        ]
        return "\n".join([*head, *self.lines, *tail]) + "\n"


def _title(name: str, taken: set[str]) -> str:
    """Return a type's name made of a name's letters and digits, not used before."""
    words = re.findall(r"[A-Za-z0-9]+", name)[:8]
    title = "".join(word[:1].upper() + word[1:32] for word in words) or "Event"
    if title[0].isdigit() or keyword.iskeyword(title):
        title = f"Event{title}"
    for candidate in _numbered(title):
        if candidate not in taken and candidate not in _RESERVED:
            taken.add(candidate)
            return candidate
    raise AssertionError("numbers do not end")


_RESERVED = frozenset(
    {"Any", "Literal", "NotRequired", "Protocol", "TypedDict", "Track", "Events", "Array"}
    | {"None", "True", "False"}
)


def _numbered(title: str) -> Iterator[str]:
    yield title
    number = 2
    while True:
        yield f"{title}{number}"
        number += 1


def _comment(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "", text)
