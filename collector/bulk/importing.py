"""Files of events read into a store, whoever wrote them (docs/collector.md, "Import").

    a line of `homing collector export`      an event with "receivedAt", or a fact
    a line of the agent's `outbox export`    {"appId": …, "data": [event, …]}
    a row of the Nucleus Data API            {"app_id": …, "time": …, "type": …, 16 more}
    an answer of the Nucleus Data API        {"data": [row, …]}, on one line or on many
    an event as any client would send it     {"type": …, "name": …, …}

Everything gets the content key that it would have had on the wire, so what was here is recognised:
to import a file twice, or again after a kill, changes nothing. The operator is believed: dates are
kept however old they are. What has no date of receipt counts as received when it happened.
"""

from __future__ import annotations

import codecs
import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

import msgspec

from collector.bulk import fact_lines
from collector.intake.rows import imported, stored
from collector.store.interface import Fact, Stored
from tracking.dates import FUTURE_MS, parse_ms
from tracking.errors import RequestFault
from tracking.events import Event, Kind
from tracking.lenient import named_kind
from tracking.nucleus import device_of, parse_frame

LONGEST: Final = 32 * 1024 * 1024  #: Bytes of a line, and of an answer spread over many.
BATCH_ROWS: Final = 4_000
BATCH_BYTES: Final = 4 * 1024 * 1024

_HALVES: Final = struct.Struct(">qq")


class Refused(NamedTuple):
    """Something that cannot be imported, and why."""

    line: int
    why: str


class Batch(NamedTuple):
    """What is to be written together.

    Attributes:
        rows: Events.
        facts: Everything else.
        refused: What came between them.
        read: Bytes of the file that are read now.

    """

    rows: list[Stored]
    facts: list[Fact]
    refused: list[Refused]
    read: int


class _Peek(msgspec.Struct):
    """What tells the sorts of lines from one another."""

    fact: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    app_id: msgspec.Raw = msgspec.Raw(b"")
    appId: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 - the wire's own word
    time: msgspec.Raw = msgspec.Raw(b"")
    type: msgspec.Raw = msgspec.Raw(b"")
    name: msgspec.Raw = msgspec.Raw(b"")
    receivedAt: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815
    key: str | None = None


class _Row(msgspec.Struct):
    """A row of the Data API (seed 001, "User Session Events"): 19 keys, of which 4 follow."""

    type: str
    time: str | int | float
    app_id: str | None = None
    platform: str | None = None
    user_id: str | None = None
    machine_id: str | None = None
    version: str | None = None
    locale: str | None = None
    renderer: bool | None = None
    module_version: str | None = None
    avail_ram: float | None = None
    country: str | None = None
    arch: str | None = None
    session_id: str | int | None = None
    os_version: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


_PEEK: Final = msgspec.json.Decoder(_Peek)
_ROW: Final = msgspec.json.Decoder(_Row)
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Reader:
    """Reads one file.

    Args:
        stream: At its beginning.
        knows: Whether there is an app of an id.
        app_id: Whose everything becomes; None: whose each line says it is.
        now_ms: The present. What is later is refused; what has no date at all gets it.

    """

    def __init__(
        self, stream: BinaryIO, knows: Callable[[str], bool], app_id: str | None, now_ms: int
    ) -> None:
        self.stream = stream
        self.knows = knows
        self.app_id = app_id
        self.now_ms = now_ms
        self.read = 0
        self._rows: list[Stored] = []
        self._facts: list[Fact] = []
        self._refused: list[Refused] = []

    def batches(self) -> Iterator[Batch]:
        """Yield what is in the file; memory stays below a batch and a line."""
        size = 0
        for number, line in self._lines():
            before = len(self._refused)
            try:
                self._take(line, number)
            except RequestFault as fault:
                self._refuse(number, str(fault))
            except _UNREADABLE as exc:
                self._refuse(number, f"not a JSON object: {exc}")
            size += len(line)
            full = len(self._rows) + len(self._facts) >= BATCH_ROWS or size >= BATCH_BYTES
            if full or len(self._refused) - before > BATCH_ROWS:
                yield self._batch()
                size = 0
        yield self._batch()

    def _batch(self) -> Batch:
        batch = Batch(self._rows, self._facts, self._refused, self.read)
        self._rows, self._facts, self._refused = [], [], []
        return batch

    def _refuse(self, number: int, why: str) -> None:
        self._refused.append(Refused(number, why))

    # --- lines ---------------------------------------------------------------------------------

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        while line := self.stream.readline(LONGEST + 1):
            number += 1
            self.read += len(line)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > LONGEST:
                while line and not line.endswith(b"\n"):
                    line = self.stream.readline(1 << 20)
                    self.read += len(line)
                self._refuse(number, f"the line is over {LONGEST} bytes")
            elif number == 1 and line.strip() and _is_open(line):
                yield number, self._rest(line)
                return
            elif stripped := line.strip():
                yield number, stripped

    def _rest(self, first: bytes) -> bytes:
        """Return a document that is spread over many lines."""
        whole = first + self.stream.read(LONGEST)
        self.read += len(whole) - len(first)
        if len(whole) > LONGEST:
            raise RequestFault(
                f"the file is one document of over {LONGEST >> 20} MiB",
                advice="Write its rows one per line, as `jq -c '.data[]'` does.",
            )
        return whole

    def _take(self, line: bytes, number: int) -> None:
        if line.startswith(b"["):
            for place, raw in enumerate(_LIST.decode(line)):
                self._each(bytes(raw), number, place)
            return
        peek = _PEEK.decode(line)
        if bytes(peek.fact):
            self._facts += self._of_app(fact_lines.read_line(line, self.app_id))
        elif bytes(peek.data).startswith(b"[") and not bytes(peek.type) and not bytes(peek.name):
            raws = _LIST.decode(peek.data)
            named = _text(peek.appId)
            for place, raw in enumerate(raws):
                self._each(bytes(raw), number, place, named)
        elif bytes(peek.receivedAt):
            self._exported(line, peek)
        elif _is_row(peek):
            self._row(line)
        else:
            self._sent(line, None)

    def _each(self, raw: bytes, number: int, place: int, app: str | None = None) -> None:
        """Take one element of a list; a bad one does not take its neighbours with it."""
        try:
            if _is_row(_PEEK.decode(raw)):
                self._row(raw)
            else:
                self._sent(raw, app)
        except RequestFault as fault:
            self._refuse(number, f"data[{place}]: {fault}")
        except _UNREADABLE as exc:
            self._refuse(number, f"data[{place}]: {exc}")

    # --- what they tell ------------------------------------------------------------------------

    def _exported(self, line: bytes, peek: _Peek) -> None:
        was = _text(peek.appId) or ""
        app = self._app(was)
        row = imported(line, app)
        self._not_later(row.ts)
        if peek.key is not None and app != was:  # a key of another app would meet the other's
            said = hashlib.blake2b(
                _HALVES.pack(row.key_a, row.key_b), digest_size=16, key=app.encode()
            )
            key_a, key_b = _HALVES.unpack(said.digest())
            row = row._replace(key_a=key_a, key_b=key_b)
        self._rows.append(row)

    def _row(self, raw: bytes) -> None:
        row = _ROW.decode(raw)
        app = self._app(row.app_id or "")
        at_ms = parse_ms(row.time)
        if at_ms is None:
            raise RequestFault(f"time is no date: {str(row.time)[:64]!r}")
        self._not_later(at_ms)
        if row.type.startswith("$"):
            kind, type_, name = Kind.OTHER, row.type, None
        else:
            kind, type_, name = named_kind(None, row.type, None)
        if kind is Kind.HEARTBEAT:
            raise RequestFault("a heartbeat is no event")
        payload = None if bytes(row.data) == b"null" else bytes(row.data)
        if payload is not None and not payload.startswith(b"{"):
            raise RequestFault("data must be an object")
        event = Event(
            kind=kind,
            type=type_,
            name=name,
            date=row.time,
            date_ms=at_ms,
            session_id=None if row.session_id is None else str(row.session_id),
            user_id=row.user_id or None,
            device_id=row.machine_id or None,
            payload=payload,
            module_version=row.module_version,
            platform=row.platform,
            os_version=row.os_version,
            total_ram=None if row.avail_ram is None else round(row.avail_ram),
            version=row.version,
            language=row.locale,
            arch=row.arch,
            process={True: "renderer", False: "main", None: None}[row.renderer],
        )
        self._store(app, event, at_ms, row.country or "")

    def _sent(self, raw: bytes, app: str | None) -> None:
        """Take an event in the form in which it is tracked, by the rules of tracking."""
        frame = parse_frame(b'{"data":[' + raw + b"]}", require_ids=True)
        if frame.refused:
            raise RequestFault(str(frame.refused[0].fault).replace("data[0].", ""))
        if not frame.events:
            raise RequestFault("a heartbeat is no event")
        event = frame.events[0]
        at_ms = self.now_ms if event.date_ms is None else event.date_ms
        self._not_later(at_ms)
        self._store(self._app(app or event.app_id or ""), event, at_ms, "")

    def _store(self, app: str, event: Event, at_ms: int, country: str) -> None:
        device = device_of(event)
        if device is None:
            raise RequestFault("it names neither a device nor a person")
        self._rows.append(stored(app, device, event, at_ms, at_ms, country, repeats=True))

    def _of_app(self, facts: Sequence[Fact]) -> Sequence[Fact]:
        for app in {fact.app_id for fact in facts}:
            self._app(app)
        return facts

    def _app(self, named: str) -> str:
        app = self.app_id or named
        if not app:
            raise RequestFault("it names no app; say --app")
        if not self.knows(app):
            raise RequestFault(f"there is no app {app[:64]!r} here")
        return app

    def _not_later(self, at_ms: int) -> None:
        if at_ms > self.now_ms + FUTURE_MS:
            raise RequestFault("its date lies in the future")


def _is_row(peek: _Peek) -> bool:
    return bool(bytes(peek.time) and bytes(peek.type) and not bytes(peek.appId))


def _is_open(line: bytes) -> bool:
    """Whether a first line is only the beginning of a document."""
    text = line.strip()
    if not text.startswith((b"{", b"[")):
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except _UNREADABLE:
        return not text.endswith((b"}", b"]")) or text in (b"{", b"[")
    return False


def _text(raw: msgspec.Raw) -> str | None:
    if not bytes(raw):
        return None
    found = msgspec.json.decode(raw)
    return found if isinstance(found, str) and found else None
