"""Histories that are hard to count: the search space of tests/collector/test_numbers.py.

Few devices, users and names, many of them spelled alike; moments at the edges of days, hours,
half hours, offsets and clock changes; repeats, late ones, people who sign in or change in
mid-session, one anonId on two devices, Bucket's events without a device, stays.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from collectors import row
from hypothesis import strategies as st

from collector.intake.attributes import attributes_of
from collector.store.interface import (
    FROM_BUCKET,
    INACTIVE,
    Attribute,
    Beat,
    Fact,
    Feedback,
    Membership,
    Seen,
    Stored,
)

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
HALF_HOUR = 30 * MINUTE
MIDNIGHT = 1_792_886_400_000  #: 2026-10-25T00:00Z, the night in which Berlin's summer ends.
EDGES = (
    MIDNIGHT,
    MIDNIGHT - 2 * HOUR,  # midnight in Berlin, and there
    MIDNIGHT + HOUR,  # ... the moment at which 03:00 becomes 02:00
    MIDNIGHT + DAY - HOUR,  # ... the end of a day of 25 hours
    MIDNIGHT + 8 * HOUR,  # midnight at utcOffset=480
    MIDNIGHT - 5 * HOUR - HALF_HOUR,  # midnight at utcOffset=-330
    MIDNIGHT - 20 * DAY - 9 * HOUR,  # Lord Howe's clocks go on by half an hour near there
)
STEPS = (0, 1, -1, HALF_HOUR - 1, HALF_HOUR, HALF_HOUR + 1, -HALF_HOUR, HOUR, DAY, -DAY, 7 * DAY)
ZONES: tuple[tuple[int, str | None], ...] = (
    (0, None),
    (480, None),
    (-330, None),
    (-210, None),
    (0, "Europe/Berlin"),
    (0, "Australia/Lord_Howe"),
    (0, "America/New_York"),
)

moments = st.builds(
    lambda edge, step, more: edge + step + more,
    st.sampled_from(EDGES[:3]) | st.sampled_from(EDGES),
    st.sampled_from(STEPS),
    st.sampled_from((0, 0, 0, 1, MINUTE, 10 * MINUTE)),
)

devices = st.sampled_from(("d1", "d1", "d2", "d3", "u1"))
users = st.sampled_from(("", "", "", "u1", "u2", "d1", "a1", "Ünï 'x'"))
anons = st.sampled_from(("", "", "a1", "a2", "u1", "d1", "Ω"))
sessions = st.sampled_from(("1000", "1000", "1001", ""))
#: kind, type, name
whats = st.sampled_from(
    (
        ("init", "init", ""),
        ("init", "init", ""),
        ("event", "event", "E"),
        ("event", "event", "F"),
        ("event", "event", "é"),
        ("event", "event", "init"),
        ("event", "event", "error:X"),
        ("error", "error", "X"),
        ("error", "error", "E"),
        ("userid", "userid", ""),
        ("props", "props", ""),
        ("other", "nucleus:view", "E"),
        ("other", "E", ""),
    )
)
VALUES = (
    *('"pro"', '""', '"2"', '"true"', '"ünï \\"q\\""', '"\\u0041"', '"A"'),
    *("2", "2.0", "2e0", "20e-1", "1e3", "1000", "0.5", "-0.0", "0", "9007199254740993"),
    *("true", "false", "null", "[1]", '{"x":1}'),
)
STACKS = ('"at f (a.js:1:2) 0xBEEF01"', '"at f (a.js:33:4) 0x7"', '"at g"', '""', "7")
members = st.lists(
    st.tuples(st.sampled_from(('"plan"', '"n"', '"é"', '"X"')), st.sampled_from(VALUES))
    | st.tuples(st.just('"stack"'), st.sampled_from(STACKS)),
    max_size=3,
    unique_by=lambda pair: pair[0],
)
payloads = st.just("") | members.map(
    lambda said: "{" + ",".join(f"{key}:{value}" for key, value in said) + "}"
)
#: platform, os_version, avail_ram, version, locale, country
wheres = st.sampled_from(
    (
        ("", "", 0, "", "", ""),
        ("", "", 0, "", "", ""),
        ("Windows_NT", "10.0", 8, "1.9", "en-US", "US"),
        ("Darwin", "", 16, "1.10", "en_GB", "DE"),
        ("macOS", "14.5", 0, "", "FR", ""),
        ("Linux ", "6.1", 4, "2", "C", ""),
        ("iPadOS", "", 0, "", "C.UTF-8", "DE"),
        ("BeOS", "5", 8, "1.9", "pt-BR", ""),
    )
)
lateness = st.sampled_from((20, 20, 20, 0, HOUR, 40 * DAY))


def _event(
    ts: int,
    device: str,
    user: str,
    anon: str,
    session: str,
    what: tuple[str, str, str],
    payload: str,
    where: tuple[str, str, int, str, str, str],
    late: int,
    number: int,
) -> dict[str, Any]:
    kind, type_, name = what
    platform, os_version, avail_ram, version, locale, country = where
    return {
        "ts": ts,
        "recv_ts": ts + late,
        "device_id": device,
        "user_id": user,
        "anon_id": anon,
        "session_id": session,
        "kind": kind,
        "type": type_,
        "name": name,
        "payload": payload,
        "platform": platform,
        "os_version": os_version,
        "avail_ram": avail_ram,
        "version": version,
        "locale": locale,
        "country": country,
        "event_id": str(number),
    }


def _bucket(ts: int, user: str, name: str, payload: str, company: str, flags: int, n: int) -> Any:
    return {
        **_event(ts, "", user, "", "", ("event", "event", name), payload, ("",) * 6, 30, n),
        "avail_ram": 0,
        "company_id": company,
        "flags": flags,
        "event_id": "",
    }


from_apps = st.builds(
    _event,
    moments,
    devices,
    users,
    anons,
    sessions,
    whats,
    payloads,
    wheres,
    lateness,
    st.integers(0, 3),
)
companies = st.sampled_from(("c1", "c2", "u1"))
named = st.sampled_from(("u1", "u3", "Ünï 'x'"))
from_servers = st.builds(
    _bucket,
    moments,
    named,
    st.sampled_from(("E", "F", "init")),
    payloads,
    st.sampled_from(("", "c1", "c2")),
    st.sampled_from((FROM_BUCKET, FROM_BUCKET | INACTIVE)),
    st.integers(0, 3),
)


@dataclass(slots=True)
class Conversation:
    """A few events of one device that follow each other closely: where sessions get difficult."""

    device: str
    session: str
    start: int
    steps: Sequence[tuple[int, str, tuple[str, str, str]]]

    def events(self) -> list[dict[str, Any]]:
        moment = self.start
        found = []
        for n, (step, user, what) in enumerate(self.steps):
            moment += step
            said = _event(
                moment, self.device, user, "", self.session, what, "", ("", "", 0, "", "", ""), 5, n
            )
            found.append(said)
        return found


conversations = st.builds(
    Conversation,
    devices,
    st.sampled_from(("1000", "1001")),
    moments,
    st.lists(
        st.tuples(
            st.sampled_from((0, 1, MINUTE, HALF_HOUR - 1, HALF_HOUR, HALF_HOUR, HALF_HOUR + 1)),
            users,
            whats | st.just(("init", "init", "")),
        ),
        min_size=1,
        max_size=7,
    ),
)


def _sets(device: str, user: str, said: Sequence[tuple[str, int, str, int]]) -> list[Any]:
    return [
        _event(MIDNIGHT + step, device, user, "", "", (kind, kind, ""), payload, ("",) * 6, late, n)
        | {"avail_ram": 0}
        for n, (kind, step, payload, late) in enumerate(said)
    ]


#: What one device says of its person, one set after the other, not always in the order of dates.
sets = st.builds(
    _sets,
    st.sampled_from(("d1", "d2")),
    st.sampled_from(("u1", "")),
    st.lists(
        st.tuples(
            st.sampled_from(("props", "props", "userid", "init")),
            st.sampled_from((0, 0, 1, MINUTE)),
            st.sampled_from(("", "{}", '{"plan":null}', '{"plan":"a"}', '{"n":1}', '{"n":2.0}')),
            st.sampled_from((0, 5, HOUR)),
        ),
        max_size=4,
    ),
)


@dataclass(slots=True)
class Stay:
    """A device was there; longer than a cell of 30 minutes is several rows."""

    device: str
    session: str
    user: str
    first: int
    length: int

    def beats(self, app: str) -> list[Beat]:
        found, at, last = [], self.first, self.first + self.length
        while at <= last:
            end = min(last, at - at % HALF_HOUR + HALF_HOUR - 1)
            found.append(Beat(app, self.device, self.session, self.user, at, end))
            at = end + 1
        return found


stays = st.builds(
    Stay,
    devices,
    sessions,
    users,
    moments,
    st.sampled_from((0, 1, MINUTE, HALF_HOUR - 1, HALF_HOUR, 2 * HOUR)),
)
calls = st.tuples(st.sampled_from(("user", "company")), companies | named, moments, st.booleans())
told = st.tuples(
    st.sampled_from(("user", "company")),
    companies | named,
    st.sampled_from(("plan", "é", "n")),
    st.sampled_from(('"pro"', "2", "null", '{"a":[1]}', "false", '"z"')),
    moments,
    st.sampled_from((0, 1)),
)
links = st.tuples(named, companies, moments)
words = st.tuples(
    st.sampled_from(("f1", "f2", "f3")),
    st.sampled_from(("flag", "é")),
    named | st.just(""),
    companies | st.just(""),
    st.sampled_from((0.0, 1.0, 4.5, 5.0)),
    moments,
    st.integers(1, 9),
)


@dataclass(slots=True)
class History:
    """What happened in one app, in the order of its arrival; ``of(app)`` makes rows of it."""

    batches: list[list[dict[str, Any]]]
    conversations: list[Conversation]
    sets: list[dict[str, Any]]
    stays: list[Stay]
    calls: list[tuple[str, str, int, bool]]
    told: list[tuple[str, str, str, str, int, int]]
    links: list[tuple[str, str, int]]
    words: list[tuple[str, str, str, str, float, int, int]]
    repeat: bool
    facts: list[Fact] = field(default_factory=list)

    def of(self, app: str) -> list[tuple[list[Stored], list[Fact]]]:
        talked = [event for one in self.conversations for event in one.events()]
        batches = [*self.batches, talked, self.sets]
        rows = [[stored(app, said) for said in batch] for batch in batches]
        if self.repeat:  # the whole again, an hour later, by someone who has a name by now
            late = [
                one._replace(recv_ts=one.recv_ts + HOUR, user_id=one.user_id and "u2")
                for batch in rows
                for one in batch
            ]
            rows.append(late)
        facts: list[Fact] = [beat for stay in self.stays for beat in stay.beats(app)]
        facts += [
            Seen(app, kind, id_, ts, ts if active else 0) for kind, id_, ts, active in self.calls
        ]
        for kind, id_, key, value, ts, late_ms in self.told:
            facts.append(Attribute(app, kind, id_, key, value, ts, ts + late_ms))
            facts.append(Seen(app, kind, id_, ts, ts))  # who writes an attribute says who called
        for user, company, ts in self.links:
            facts.append(Membership(app, user, company, ts, ts))
            facts += [Seen(app, "user", user, ts, 0), Seen(app, "company", company, ts, 0)]
        for n, (id_, feature, user, company, score, ts, recv) in enumerate(self.words):
            said = ("good", "api", "?", "", ts, MIDNIGHT + 60 * DAY + recv * 100 + n, "{}")
            facts.append(Feedback(app, id_, feature, user, company, score, *said))
            if user:
                facts.append(Seen(app, "user", user, ts, 0))
        return list(itertools.zip_longest(rows[:1], [facts], fillvalue=[])) + [
            (batch, []) for batch in rows[1:]
        ]


def stored(app: str, said: dict[str, Any]) -> Stored:
    keys, values = attributes_of(said["payload"])
    return row(app_id=app, attr_keys=keys, attr_values=values, **said)


histories = st.builds(
    History,
    st.lists(st.lists(from_apps | from_apps | from_servers, max_size=8), min_size=1, max_size=3),
    st.lists(conversations, max_size=2),
    sets,
    st.lists(stays, max_size=3),
    st.lists(calls, max_size=3),
    st.lists(told, max_size=4),
    st.lists(links, max_size=2),
    st.lists(words, max_size=4),
    st.booleans(),
)
intervals = st.tuples(moments, moments, st.sampled_from((1, HOUR, DAY, 40 * DAY))).map(
    lambda said: (min(said[:2]), max(said[:2]) + (0 if said[0] != said[1] else said[2]))
)
zones = st.sampled_from(ZONES)


def plain(value: Any) -> Any:
    """Return an answer as a reader of JSON has it."""
    return json.loads(json.dumps(value))
