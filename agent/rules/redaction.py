"""What of an event is not to be kept: rules that a person writes, each with its examples.

A rule names apps and events, says where to look (a path, a pattern, or both) and what becomes of
what it finds. It is applied before anything of the event reaches the disk, so what it takes away
is in no file, no log and no frame.

    [[redaction.rules]]
    name = "no e-mail addresses"
    path = "$.payload.email"
    action = "drop"
    examples = [{ before = { payload = { email = "a@b" } }, after = { payload = {} } }]

One rule serves both languages: in a Bucket call ``payload`` means ``attributes`` and ``name``
means ``event``, and the other way round in a Nucleus event.

Patterns are run by RE2, which takes time in proportion to the text whatever the pattern is; a
pattern of Python's own engine could be made to hang the agent by the app that it is to watch.

Invariants:
    1. A rule that exists has passed its examples (:func:`read_rule`).
    2. An event in which nothing was found comes back as the same object.
    3. What cannot be looked at to its end is dropped, not kept.
"""

from __future__ import annotations

import base64
import difflib
import fnmatch
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from agent.rules.json_edit import (
    UNREADABLE,
    Step,
    each_key,
    each_text,
    edit,
    parse_path,
    plain_text,
    quoted,
)
from tracking.errors import SettingsFault

Action: TypeAlias = Literal["drop", "drop_event", "mask", "hash"]
Keep: TypeAlias = Literal["nothing", "length", "kind"]
Language: TypeAlias = Literal["nucleus", "bucket"]
#: Gets a text, returns what stands for it: the same for the same text and app, and irreversible.
Hasher: TypeAlias = Callable[[str], str]

MASK: Final = "***"
HASH_BYTES: Final = 15  #: 120 bits, 24 characters of base32, as the deviceId.
SHOWN_HASH: Final = "<hash>"  #: What stands for a hash in an example's ``after``.
MOST_PATTERN_CHARS: Final = 1_000
MOST_RULES: Final = 100
RULE_KEYS: Final = ("name", "app", "event", "path", "pattern", "action", "keep", "examples")
WHOLE_EVENT: Final = frozenset({"type", "id", "date", "timestamp"})  #: An event is none without.
ALIASES: Final[Mapping[Language, Mapping[str, str]]] = {
    "nucleus": {"attributes": "payload", "event": "name"},
    "bucket": {"payload": "attributes", "name": "event"},
}
#: Names that the language gives; what else stands in a call is the sender's own.
BUCKET_MEMBERS: Final = frozenset(
    {"type", "userId", "companyId", "event", "attributes", "context", "timestamp", "featureId"}
    | {
        "key",
        "score",
        "comment",
        "feedbackId",
        "promptId",
        "question",
        "promptedQuestion",
        "source",
    }
)
_BUCKET_WORDS: Final = frozenset(
    {"user", "company", "event", "feedback"}
    | {"feature-flag-event", "prompt-event", "channel-status-event"}
)


@dataclass(frozen=True, slots=True)
class Example:
    """An event, and what a rule is to make of it; ``after`` is None if it is to be dropped."""

    before: bytes
    after: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, compiled; made by :func:`read_rule`.

    Attributes:
        name: What people call it; unique.
        app: An app's id, or ``*``.
        event: A name, or a glob over names: ``checkout.*``.
        path: Where to look; empty for everywhere.
        pattern: What to look for (RE2); empty for anything that is there.
        action: ``drop`` the property, ``drop_event``, ``mask`` or ``hash``.
        keep: What a mask keeps: nothing, the length, or the kind of value.
        examples: What it was tested with.

    """

    name: str
    app: str = "*"
    event: str = "*"
    path: str = ""
    pattern: str = ""
    action: Action = "mask"
    keep: Keep = "nothing"
    examples: tuple[Example, ...] = ()
    steps: tuple[Step, ...] = ()
    regex: Any = field(default=None, compare=False, repr=False)

    def concerns(self, app_id: str, event: str) -> bool:
        """Return whether an app's event is one that this rule looks at."""
        if self.app not in ("*", app_id):
            return False
        return self.event == "*" or fnmatch.fnmatchcase(event, self.event)

    def apply(self, raw: bytes, language: Language, hasher: Hasher) -> bytes | None:
        """Return the event without what is not to be kept, None if it is not to be kept itself.

        Args:
            raw: The event as one JSON object.
            language: Whose words its members are.
            hasher: Of the event's app.

        """
        act = _Act(self, hasher)
        try:
            if self.steps:
                changed = edit(raw, _aliased(self.steps, language), act.value)
            else:
                changed = edit(raw, _EVERY_MEMBER, act.value)
            if changed is not None and language == "bucket":
                if self.regex is not None and not self.steps:  # whatever it calls its own fields
                    changed = each_key(changed, act.key)
                if changed is not None and changed is not raw:
                    changed = _with_word(raw, changed)
        except (_DropEvent, *UNREADABLE):
            return None  # invariant 3
        return changed

    def needles(self) -> tuple[bytes, ...]:
        """Return bytes without which a payload holds nothing that the path could name.

        A payload with a backslash may spell a key in another way and has to be looked at.
        """
        if not self.steps:
            return ()
        first, *rest = self.steps
        if first.deep or first.name not in ("payload", "attributes"):
            return ()
        return tuple(b'"%s"' % step.name.encode() for step in rest if step.name is not None)


_EVERY_MEMBER: Final = (Step(),)


class _DropEvent(Exception):
    """What was found says that the event is not to be kept at all."""


class _Act:
    """Carries out a rule's action on what was found."""

    def __init__(self, rule: Rule, hasher: Hasher) -> None:
        self.rule = rule
        self.hasher = hasher

    def value(self, raw: bytes) -> bytes | None:
        """Change a value that the path named."""
        if self.rule.regex is None:
            return self._whole(raw)
        return each_text(raw, self._text)

    def key(self, key: str) -> str | None:
        """Change a member's name that is not one of the language's."""
        return key if key in BUCKET_MEMBERS else self._text(key)

    def _whole(self, raw: bytes) -> bytes | None:
        match self.rule.action:
            case "drop":
                return None
            case "drop_event":
                raise _DropEvent
            case "hash":
                return raw if raw == b"null" else quoted(self.hasher(plain_text(raw)))
            case "mask":
                return _masked(raw, self.rule.keep)

    def _text(self, text: str) -> str | None:
        """Change what the pattern finds in a text."""
        rule = self.rule
        if rule.regex.search(text) is None:
            return text
        match rule.action:
            case "drop":
                return None
            case "drop_event":
                raise _DropEvent
            case "hash":
                said = rule.regex.sub(lambda found: self.hasher(found.group(0)), text)
            case "mask" if rule.keep == "length":
                said = rule.regex.sub(lambda found: "*" * len(found.group(0)), text)
            case "mask":
                said = rule.regex.sub(lambda _: MASK, text)
        return cast(str, said)


def _masked(raw: bytes, keep: Keep) -> bytes:
    first = raw[:1]
    if keep == "length" and first == b'"':
        return quoted("*" * len(plain_text(raw)))
    if keep == "kind" and first != b'"':
        kinds = {b"{": b"{}", b"[": b"[]", b"t": b"false", b"f": b"false", b"n": b"null"}
        return kinds.get(first, b"0")
    return quoted(MASK)


def _aliased(steps: tuple[Step, ...], language: Language) -> tuple[Step, ...]:
    first, *rest = steps
    name = ALIASES[language].get(first.name or "")
    return steps if name is None else (Step(name=name, deep=first.deep), *rest)


def _with_word(before: bytes, after: bytes) -> bytes:
    """Put back the word that says which call of Bucket's it is, if it is one of the words."""
    said: list[bytes] = []

    def remember(raw: bytes) -> bytes:
        if plain_text(raw) in _BUCKET_WORDS:
            said.append(raw)
        return raw

    word = (Step(name="type"),)
    edit(before, word, remember)
    if not said:
        return after
    return cast(bytes, edit(after, word, lambda _: said[0]))


def keyed_hasher(key: bytes, app_id: str) -> Hasher:
    """Return the hasher of one app.

    HMAC-SHA256 with a key of this computer's and the app's own: a table of known addresses does
    not reverse it, and two apps' hashes of one address are not alike.
    """
    own = hmac.digest(key, b"redaction/v1\0" + app_id.encode(), "sha256")

    def hasher(text: str) -> str:
        digest = hmac.new(own, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
        return base64.b32encode(digest[:HASH_BYTES]).decode().lower()

    return hasher


# --- from the settings ---------------------------------------------------------------------------


def read_rule(entry: Mapping[str, object], number: int = 1) -> Rule:
    """Make a rule of a table of the settings file, and try its examples.

    Args:
        entry: The table.
        number: Its place, from 1; names a rule that has no name.

    Raises:
        SettingsFault: It says something impossible, or an example comes out differently.

    """
    texts: dict[str, str] = {}
    for key in entry:
        if key not in RULE_KEYS:
            near = difflib.get_close_matches(key, RULE_KEYS, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise SettingsFault(f"nothing is named {key!r}{hint}")
    for key in RULE_KEYS[:-1]:
        value = entry.get(key, "")
        if not isinstance(value, str) or any(ord(letter) < 0x20 for letter in value):
            raise SettingsFault(f"{key} must be one line of text")
        texts[key] = value
    path, pattern = texts["path"], texts["pattern"]
    if not path and not pattern:
        raise SettingsFault("needs a path, a pattern or both")
    action, keep = texts["action"], texts["keep"] or "nothing"
    for key, word, allowed in (("action", action, Action), ("keep", keep, Keep)):
        if word not in get_args(allowed):
            raise SettingsFault(f"{key} must be one of {', '.join(get_args(allowed))}")
    if keep != "nothing" and action != "mask":
        raise SettingsFault('keep is for action = "mask"')
    try:
        steps = parse_path(path) if path else ()
    except ValueError as exc:
        raise SettingsFault(f"path {exc}") from None
    if steps and not steps[0].deep and steps[0].name in WHOLE_EVENT:
        raise SettingsFault(
            f"path: {steps[0].name} is what makes it an event and cannot be changed"
        )
    rule = Rule(
        name=texts["name"] or f"rule {number}",
        app=texts["app"] or "*",
        event=texts["event"] or "*",
        path=path,
        pattern=pattern,
        action=cast(Action, action),
        keep=cast(Keep, keep),
        examples=_examples(entry.get("examples", [])),
        steps=steps,
        regex=_compiled(pattern) if pattern else None,
    )
    for place, example in enumerate(rule.examples, 1):
        _try(rule, place, example)
    return rule


def _compiled(pattern: str) -> Any:
    if len(pattern) > MOST_PATTERN_CHARS:
        raise SettingsFault(f"pattern is longer than {MOST_PATTERN_CHARS} characters")
    import re2  # type: ignore[import-untyped] # 2 MiB that only a pattern needs

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as exc:
        why = exc.args[0].decode("utf-8", "replace") if exc.args else "it cannot be read"
        raise SettingsFault(
            f"pattern: {why}",
            advice="Patterns are RE2's: github.com/google/re2/wiki/Syntax.",
        ) from None
    if compiled.search("") is not None:
        raise SettingsFault("pattern finds the empty text, so it would find everything")
    return compiled


def _examples(entries: object) -> tuple[Example, ...]:
    wanted = "examples must be a list of { before = …, after = … }"
    if not isinstance(entries, list) or not entries:
        raise SettingsFault(f"{wanted}, and hold one at least")
    found = []
    for entry in entries:
        if not isinstance(entry, Mapping) or not {"before"} <= entry.keys() <= {"before", "after"}:
            raise SettingsFault(wanted)
        before = _document(entry["before"])
        after = entry.get("after")
        found.append(Example(before, None if after is None else _document(after)))
    return tuple(found)


def _document(said: object) -> bytes:
    """Return an event of an example, written as a table of TOML's or as a text of JSON."""
    try:
        value = json.loads(said) if isinstance(said, str) else said
        if not isinstance(value, dict):
            raise TypeError
        return json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise SettingsFault("an example's event must be a table, or text that is JSON") from None


def _try(rule: Rule, place: int, example: Example) -> None:
    said = json.loads(example.before)
    language: Language = "bucket" if said.keys() & {"attributes", "event"} else "nucleus"
    name = said.get("name", said.get("event", said.get("type", "")))
    got: bytes | None = example.before
    if name == "" or rule.concerns(rule.app, str(name)):  # it need not repeat what the rule says
        got = rule.apply(example.before, language, lambda _: SHOWN_HASH)
    if _shown(got) != _shown(example.after):
        expected, found = _shown(example.after), _shown(got)
        diff = difflib.unified_diff(expected, found, "after, as written", "after, as it is", n=1)
        raise SettingsFault(
            f"example {place} of {rule.name!r} comes out differently:\n"
            + "\n".join(line.rstrip("\n") for line in diff),
            advice="Correct the rule, or what the example expects of it.",
        )


def _shown(document: bytes | None) -> list[str]:
    if document is None:
        return ["(the event is dropped)"]
    text = json.dumps(json.loads(document), indent=2, sort_keys=True, ensure_ascii=False)
    return text.split("\n")
