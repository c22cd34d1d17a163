"""What is known of people, firms and opinions besides events, as lines of JSON, and back.

    {"fact":"user","appId":"A","id":"u1","firstSeen":…,"lastSeen":…,"attributes":{"plan":"pro"},
     "attributeDates":{"plan":…},"companies":{"c1":…}}
    {"fact":"company", …}      the same, without companies
    {"fact":"feedback", …}     the latest state of each
    {"fact":"stay", …}         a device was there from … to … (heartbeats, open sockets)

What is true now, not how it came about: of an attribute the value that won, of a feedback its last
state. Read into an empty store, lines make a store that answers the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import msgspec

from collector.store.interface import Attribute, Beat, Fact, Feedback, Membership, Seen
from tracking.dates import iso, parse_ms
from tracking.errors import RequestFault

NEVER: Final = 9_223_372_036_854_775_807
CELL: Final = 1_800_000
KINDS: Final = ("users", "companies", "feedback", "stays")


class Asked(Protocol):
    """Whoever answers the questions of :mod:`collector.bulk.holdings`."""

    def ask(self, name: str, **values: object) -> list[tuple[Any, ...]]: ...


class Someone(msgspec.Struct, omit_defaults=True, rename="camel", tag_field="fact", tag="user"):
    """A user."""

    app_id: str
    id: str
    first_seen: str | None = None
    last_seen: str | None = None
    attributes: dict[str, msgspec.Raw] = {}
    attribute_dates: dict[str, str] = {}
    companies: dict[str, str] = {}


class Firm(msgspec.Struct, omit_defaults=True, rename="camel", tag_field="fact", tag="company"):
    """A company."""

    app_id: str
    id: str
    first_seen: str | None = None
    last_seen: str | None = None
    attributes: dict[str, msgspec.Raw] = {}
    attribute_dates: dict[str, str] = {}


class Opinion(msgspec.Struct, omit_defaults=True, rename="camel", tag_field="fact", tag="feedback"):
    """A feedback as its last call left it."""

    app_id: str
    feedback_id: str
    feature: str
    date: str
    received_at: str
    user_id: str | None = None
    company_id: str | None = None
    score: float | None = None
    comment: str | None = None
    source: str | None = None
    question: str | None = None
    prompt_id: str | None = None
    raw: str | None = None


class Stay(msgspec.Struct, omit_defaults=True, rename="camel", tag_field="fact", tag="stay"):
    """A device was there; both ends lie in one half hour."""

    app_id: str
    device_id: str
    since: str
    until: str
    session_id: str | None = None
    user_id: str | None = None


Line = Someone | Firm | Opinion | Stay

_READ: Final = msgspec.json.Decoder(Line)


def lines_of(asked: Asked, app_id: str, what: str) -> Iterator[list[Line]]:
    """Yield the lines of one kind, page by page, each in the order of its ids."""
    match what:
        case "users":
            yield from _people(asked, app_id, "user")
        case "companies":
            yield from _people(asked, app_id, "company")
        case "feedback":
            yield from _opinions(asked, app_id)
        case _:
            yield from _stays(asked, app_id)


def _people(asked: Asked, app_id: str, kind: str) -> Iterator[list[Line]]:
    after = ""
    while page := asked.ask("seen", app=app_id, kind=kind, after=after):
        ids = [id_ for id_, _, _ in page]
        after = ids[-1]
        latest: dict[tuple[str, str], tuple[int, int, str]] = {}
        for id_, key, value, ts, recv_ts in asked.ask("attributes", app=app_id, kind=kind, ids=ids):
            latest[id_, key] = max(latest.get((id_, key), (-1, 0, "")), (ts, recv_ts, value))
        values: dict[str, dict[str, msgspec.Raw]] = {}
        dates: dict[str, dict[str, str]] = {}
        for (id_, key), (ts, _, value) in sorted(latest.items()):
            values.setdefault(id_, {})[key] = msgspec.Raw(value.encode())
            dates.setdefault(id_, {})[key] = iso(ts)
        firms: dict[str, dict[str, str]] = {}
        if kind == "user":
            for id_, firm, ts, _ in sorted(asked.ask("memberships", app=app_id, ids=ids)):
                firms.setdefault(id_, {})[firm] = iso(ts)
        lines: list[Line] = []
        for id_, first_ts, last_ts in page:
            first = None if first_ts == NEVER else iso(first_ts)
            last = iso(last_ts) if last_ts else None
            told = (app_id, id_, first, last, values.get(id_, {}), dates.get(id_, {}))
            lines.append(Someone(*told, firms.get(id_, {})) if kind == "user" else Firm(*told))
        yield lines


def _opinions(asked: Asked, app_id: str) -> Iterator[list[Line]]:
    after = ""
    while page := asked.ask("feedback ids", app=app_id, after=after):
        ids = [id_ for (id_,) in page]
        after = ids[-1]
        latest: dict[str, Feedback] = {}
        for row in asked.ask("feedback", app=app_id, ids=ids):
            said = Feedback(*row)
            known = latest.get(said.feedback_id)
            if known is None or (said.recv_ts, said) > (known.recv_ts, known):
                latest[said.feedback_id] = said
        yield [
            Opinion(
                app_id,
                said.feedback_id,
                said.feature,
                iso(said.ts),
                iso(said.recv_ts),
                said.user_id or None,
                said.company_id or None,
                said.score or None,
                said.comment or None,
                said.source or None,
                said.question or None,
                said.prompt_id or None,
                said.raw or None,
            )
            for _, said in sorted(latest.items())
        ]


def _stays(asked: Asked, app_id: str) -> Iterator[list[Line]]:
    after = ""
    while page := asked.ask("beat devices", app=app_id, after=after):
        ids = [id_ for (id_,) in page]
        after = ids[-1]
        beats = sorted(Beat(*row) for row in asked.ask("beats", app=app_id, ids=ids))
        yield [
            Stay(
                app_id,
                beat.device_id,
                iso(beat.first_ts),
                iso(beat.last_ts),
                beat.session_id or None,
                beat.user_id or None,
            )
            for beat in beats
        ]


def read_line(text: bytes, app_id: str | None) -> list[Fact]:
    """Return what one line tells.

    Args:
        text: One line.
        app_id: Whose it becomes; None leaves that as it says.

    Raises:
        RequestFault: It is no such line.

    """
    try:
        line = _READ.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestFault(f"no fact: {exc}") from exc
    app = app_id or line.app_id
    if isinstance(line, Opinion):
        return [_opinion(line, app)]
    if isinstance(line, Stay):
        first, last = _ms(line.since), _ms(line.until)
        if first // CELL != last // CELL or last < first:
            raise RequestFault("a stay begins and ends within one half hour")
        who = (line.session_id or "", line.user_id or "")
        return [Beat(app, line.device_id, *who, first, last)]
    return _told(line, app)


def _opinion(line: Opinion, app: str) -> Feedback:
    return Feedback(
        app,
        line.feedback_id,
        line.feature,
        line.user_id or "",
        line.company_id or "",
        line.score or 0.0,
        line.comment or "",
        line.source or "",
        line.question or "",
        line.prompt_id or "",
        _ms(line.date),
        _ms(line.received_at),
        line.raw or "",
    )


def _told(line: Someone | Firm, app: str) -> list[Fact]:
    kind = "user" if isinstance(line, Someone) else "company"
    first = _ms(line.first_seen) if line.first_seen is not None else 0
    last = _ms(line.last_seen) if line.last_seen is not None else 0
    facts: list[Fact] = [Seen(app, kind, line.id, first, last)]
    for key, value in line.attributes.items():
        at = _ms(line.attribute_dates.get(key) or line.last_seen)
        facts.append(Attribute(app, kind, line.id, key, bytes(value).decode(), at, at))
    if isinstance(line, Someone):
        facts += [
            Membership(app, line.id, firm, _ms(at), _ms(at)) for firm, at in line.companies.items()
        ]
    return facts


def _ms(text: str | None) -> int:
    at = parse_ms(text)
    if at is None:
        raise RequestFault(f"no date: {str(text)[:64]!r}")
    return at
