"""What is looked at, and taken away, between a local app and the disk.

Stands at the counter (:mod:`agent.runtime.counter.intake`): an event that was let in passes through
here before anything of it is written, queued or shown. The rules themselves are
:mod:`agent.rules.redaction`; here is which of them concern an app, and what they did.

An event that a rule drops is acknowledged all the same, because its sender would repeat it for
ever (SECURITY.md, decision 8); it is counted with the rule, and is in no ledger.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from agent.adapters.machine.facts import machine_names
from agent.adapters.machine.private_files import read_private, write_private
from agent.rules.json_edit import quoted
from agent.rules.machine_names import MachineNames, MachineRule, Reach
from agent.rules.redaction import Hasher, Language, Rule, keyed_hasher
from tracking.bucket import (
    Call,
    CompanyCall,
    EventCall,
    FeedbackCall,
    RawCall,
    UserCall,
    parse_body,
)
from tracking.events import Event, Kind, Limits

if TYPE_CHECKING:
    from agent.runtime.core import Core

MACHINE: Final = "redaction.machine"  #: How the rule that nobody wrote is counted.
KEY_BYTES: Final = 32
KEY_FILE: Final = "redaction.key"

#: Member of the wire → field of :class:`tracking.events.Event`; all of them are text.
_MEMBERS: Final = {
    "name": "name",
    "userId": "user_id",
    "anonId": "anon_id",
    "deviceId": "device_id",
    "machineId": "machine_id",
    "sessionId": "session_id",
    "client": "client",
    "moduleVersion": "module_version",
    "platform": "platform",
    "osVersion": "os_version",
    "version": "version",
    "language": "language",
    "arch": "arch",
    "process": "process",
}
_METHODS: Final[dict[type[Any], str]] = {
    UserCall: "user",
    CompanyCall: "company",
    EventCall: "event",
    FeedbackCall: "feedback",
}
_ERROR: Final = Kind.ERROR  #: Looking up a member of an enum runs Python.
_TOLD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)


class Look(Protocol):
    """Sees what is left, before it is written: :class:`agent.runtime.counter.linting.Linting`."""

    def events(self, app_id: str, events: Sequence[Event]) -> None: ...
    def calls(self, app_id: str, calls: Sequence[Call]) -> None: ...


class Screening:
    """Applies the rules to what an app hands in.

    Args:
        rules: In the order of the settings.
        names: What names this computer.
        reach: Where those names are taken out.
        limits: Of one event.
        key: Returns the key that hashes are made with; asked once, if a rule hashes.
        look: Sees what is left.

    Attributes:
        touched: Rule → events that it changed, since the start.
        dropped: Rule → events that it dropped, since the start.

    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        names: MachineNames | None = None,
        reach: Reach = "off",
        limits: Limits | None = None,
        key: Callable[[], bytes] = lambda: os.urandom(KEY_BYTES),
        look: Look | None = None,
    ) -> None:
        self.look = look
        self.limits = limits or Limits()
        self.reach = reach
        self.touched: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._machine = MachineRule(names or MachineNames())
        self._key = key
        self._kept_key: bytes | None = None
        self._hashers: dict[str, Hasher] = {}
        self._by_app: dict[str, tuple[_Ready, ...]] = {}
        self.rules: tuple[Rule, ...] = tuple(rules)

    def replace(self, rules: Iterable[Rule], reach: Reach) -> None:
        """Use these rules from now on; what was counted stays."""
        self.rules, self.reach = tuple(rules), reach
        self._by_app.clear()

    # --- at the counter ----------------------------------------------------------------------

    def events(self, app_id: str, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Return the events as they may be kept; the same tuple if all of them may be."""
        kept = self._events(app_id, events)
        if self.look is not None:
            self.look.events(app_id, kept)
        return kept

    def calls(self, app_id: str, calls: tuple[Call, ...]) -> tuple[Call, ...]:
        """Return the calls as they may be kept; the same tuple if all of them may be."""
        kept = self._calls(app_id, calls)
        if self.look is not None:
            self.look.calls(app_id, kept)
        return kept

    def hasher(self, app_id: str) -> Hasher:
        """Return the hasher of an app."""
        hasher = self._hashers.get(app_id)
        if hasher is not None:
            return hasher

        def first(text: str) -> str:
            if self._kept_key is None:
                self._kept_key = self._key()
            made = self._hashers[app_id] = keyed_hasher(self._kept_key, app_id)
            return made(text)

        return first

    # --- many --------------------------------------------------------------------------------

    def _events(self, app_id: str, events: tuple[Event, ...]) -> tuple[Event, ...]:
        ready = self._ready(app_id)
        if not ready and (self.reach == "off" or not self._may_name(events)):
            return events
        changed = False
        kept: list[Event] = []
        for event in events:
            after = self._event(app_id, event, ready)
            changed = changed or after is not event
            if after is not None:
                kept.append(after)
        return tuple(kept) if changed else events

    def _may_name(self, events: tuple[Event, ...]) -> bool:
        """Return whether one of the events is looked at for this computer's names."""
        return self.reach == "all" or any(event.kind is _ERROR for event in events)

    def _calls(self, app_id: str, calls: tuple[Call, ...]) -> tuple[Call, ...]:
        ready = self._ready(app_id)
        if not ready and self.reach != "all":
            return calls
        changed = False
        kept: list[Call] = []
        for call in calls:
            after = self._call(app_id, call, ready)
            changed = changed or after is not call
            if after is not None:
                kept.append(after)
        return tuple(kept) if changed else calls

    # --- one event ---------------------------------------------------------------------------

    def _event(self, app_id: str, event: Event, ready: Sequence[_Ready]) -> Event | None:
        by_machine = self.reach == "all" or (self.reach == "errors" and event.kind is _ERROR)
        wanted = [one for one in ready if one.may_find(event)]
        if not by_machine and not wanted:
            return event
        before = document(event)
        after = self._apply(app_id, before, "nucleus", by_machine, wanted)
        if after is None or after is before:
            return None if after is None else event
        found = _rebuilt(event, after, self.limits.name_chars)
        if found is None or len(after) > max(self.limits.event_bytes, len(before)):
            self.dropped[MACHINE if by_machine else wanted[-1].rule.name] += 1
            return None
        return found

    def _call(self, app_id: str, call: Call, ready: Sequence[_Ready]) -> Call | None:
        name = call.event if isinstance(call, EventCall) else word_of(call)
        wanted = [one for one in ready if one.rule.concerns(app_id, name)]
        if not wanted and self.reach != "all":
            return call
        if _repeats_a_key(call.raw):  # a reader sees one of them, the rules might see another
            self.dropped[wanted[0].rule.name if wanted else MACHINE] += 1
            return None
        after = self._apply(app_id, call.raw, "bucket", self.reach == "all", wanted)
        if after is None or after is call.raw:
            return None if after is None else call
        batch = parse_body(word_of(call), after, limits=self.limits)
        if batch.rejected or len(batch.accepted) != 1:  # what is left is no such call
            self.dropped[wanted[-1].rule.name if wanted else MACHINE] += 1
            return None
        return batch.accepted[0].call

    def _apply(
        self,
        app_id: str,
        before: bytes,
        language: Language,
        by_machine: bool,
        wanted: Sequence[_Ready],
    ) -> bytes | None:
        raw = before
        if by_machine:
            after = self._machine.apply(raw)
            if not self._counted(MACHINE, raw, after):
                return None
            raw = after or raw
        for one in wanted:
            after = one.rule.apply(raw, language, self.hasher(app_id))
            if not self._counted(one.rule.name, raw, after):
                return None
            raw = after or raw
        return raw

    def _counted(self, name: str, before: bytes, after: bytes | None) -> bool:
        """Count what a rule did; return whether there is still an event."""
        if after is None:
            self.dropped[name] += 1
        elif after is not before:
            self.touched[name] += 1
        return after is not None

    # --- what concerns an app ----------------------------------------------------------------

    def _ready(self, app_id: str) -> tuple[_Ready, ...]:
        ready = self._by_app.get(app_id)
        if ready is None:
            ready = tuple(_Ready(rule, app_id) for rule in self.rules if rule.app in ("*", app_id))
            self._by_app[app_id] = ready
        return ready


class _Ready:
    """A rule of one app, and what spares us looking closer."""

    __slots__ = ("app_id", "every", "needles", "rule")

    def __init__(self, rule: Rule, app_id: str) -> None:
        self.rule = rule
        self.app_id = app_id
        self.every = rule.event == "*"
        self.needles = rule.needles()

    def may_find(self, event: Event) -> bool:
        """Return whether the rule concerns an event and could find something in it."""
        payload = event.payload
        for needle in self.needles:
            if payload is None or (needle not in payload and b"\\" not in payload):
                return False
        return self.every or self.rule.concerns(self.app_id, event.name or event.type)


def document(event: Event) -> bytes:
    """Return an event as the JSON object that rules and examples speak of."""
    parts = [b'"type":' + quoted(event.type)]
    for member, name in _MEMBERS.items():
        value = getattr(event, name)
        if value is not None:
            parts.append(b'"%s":%s' % (member.encode(), quoted(value)))
    if event.payload is not None:
        parts.append(b'"payload":' + event.payload)
    return b"{" + b",".join(parts) + b"}"


def word_of(call: Call) -> str:
    """Return which call of the tracking API it is."""
    return call.type if isinstance(call, RawCall) else _METHODS[type(call)]


def _rebuilt(event: Event, after: bytes, longest: int) -> Event | None:
    """Return the event as a document says that it is now; None if that is no event."""
    told = {key: bytes(value) for key, value in _TOLD.decode(after).items()}
    changes: dict[str, Any] = {}
    for member, attribute in _MEMBERS.items():
        before = getattr(event, attribute)
        if before is None:
            continue
        raw = told.get(member)
        said = None if raw is None or raw == b"null" else _text(raw)
        if said != before:
            changes[attribute] = said
    if event.kind is Kind.OTHER:  # the other words are the language's, and say nothing of anybody
        if "type" not in told:
            return None
        changes["type"] = _text(told["type"])
    name: str | None = changes.get("name", event.name)
    if event.kind in (Kind.EVENT, Kind.ERROR) and not name:
        return None  # nothing is left that says what happened
    if name is not None and len(name) > longest:
        return None
    payload = told.get("payload")
    if payload is not None and payload[:1] != b"{":
        payload = None  # a payload is an object, and this one was changed as a whole
    if payload != event.payload:
        changes["payload"] = payload
    same = event.device_id == event.machine_id  # one stands in for the other (A4)
    if same and "machine_id" in changes and "device_id" not in changes:
        changes["device_id"] = changes["machine_id"]
    return msgspec.structs.replace(event, **changes)


def _text(raw: bytes) -> str:
    return _TEXT.decode(raw) if raw[:1] == b'"' else raw.decode()


def _repeats_a_key(raw: bytes) -> bool:
    repeated = False

    def look(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len({key for key, _ in pairs}) != len(pairs)

    try:
        json.loads(raw, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return True
    return repeated


def screening_of(core: Core) -> Screening:
    """Return the screening that a core's settings ask for."""
    settings = core.settings
    return Screening(
        settings.rules,
        names=machine_names(core.means.environment),
        reach=settings.redaction.machine,
        limits=settings.limits.wire(),
        key=lambda: kept_key(core.places.state / KEY_FILE),
        look=core.linting,
    )


def kept_key(path: Path) -> bytes:
    """Return the key of this computer's hashes; made once, in a file that only we may read.

    It opens nothing and names nobody, so a file will do; a keyring may ask for a password, and
    nothing can be hashed meanwhile.

    Raises:
        SettingsFault: Something else is at its place.
        StorageFault: It cannot be read or written.

    """
    key = read_private(path)
    if key is None or len(key) != KEY_BYTES:
        key = os.urandom(KEY_BYTES)
        write_private(path, key)
    return key
