"""What the people of a demo say, dated and put on record as a collector would have stored it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from collector.demo.people import DAY, HOUR, Person
from collector.demo.words import Payload
from collector.intake.rows import stored
from collector.store.interface import FROM_BUCKET, Beat, Fact, Stored
from tracking.dates import iso
from tracking.events import Event, Kind

CELL: Final = 1_800_000  #: A stay is cut at every half hour (Beat).


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be made.

    Attributes:
        app_id: Whose events they are.
        days: Over how long.
        users: How many people.
        seed: Another one, other people.
        end_ms: The present; nothing is later.

    """

    app_id: str
    days: int
    users: int
    seed: int
    end_ms: int

    @property
    def start_ms(self) -> int:
        """Midnight (UTC) of the first day."""
        return (self.end_ms // DAY - self.days + 1) * DAY


@dataclass(slots=True)
class Life:
    """One person as the story goes on."""

    person: Person
    step: int = 0  #: How far through the onboarding.
    known: bool = False  #: Has an account.
    plan: str = "free"
    sessions: int = 0
    last_ms: int = 0
    rated: int = 0


@dataclass(slots=True)
class Record:
    """What was said and noted since somebody last looked."""

    plan: Plan
    chance: random.Random
    rows: list[Stored] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def taken(self) -> tuple[list[Stored], list[Fact]]:
        """Hand out what was said and noted since the last time."""
        rows, facts = self.rows, self.facts
        self.rows, self.facts = [], []
        return rows, facts


class Sender:
    """One running program: what it says, dated and put on record."""

    def __init__(self, record: Record, life: Life, version: str, session: str, at: int) -> None:
        self.record = record
        self.began = at
        self.life = life
        self.version = version
        self.session = session
        self.at = at

    def wait(self, seconds: float) -> None:
        self.at += int(seconds * 1000)

    def event(self, kind: Kind, name: str, payload: Payload | None) -> None:
        """Say something; what would lie in the future is not said."""
        record, person = self.record, self.life.person
        if self.at >= record.plan.end_ms:
            return
        received = min(record.plan.end_ms - 1, self.at + self._delay())
        row = stored(
            record.plan.app_id,
            person.device_id,
            Event(
                kind=kind,
                type=kind.value,
                name=name or None,
                id=f"{record.chance.getrandbits(60):015x}",
                date=iso(self.at),
                date_ms=self.at,
                session_id=self.session,
                user_id=person.user_id if self.life.known else None,
                anon_id=person.anon_id,
                device_id=person.device_id,
                payload=payload,
                client="nodejs",
                module_version="4.1.0",
                platform=person.platform,
                os_version=person.os_version,
                total_ram=person.ram,
                version=self.version,
                language=person.language,
                arch=person.arch,
                process="main",
            ),
            received,
            self.at,
            person.country,
        )
        record.rows.append(row)

    def bucket_event(self, feature: str, company: str) -> None:
        """Tell the use of a feature, as a server of the firm would over the Bucket API."""
        record, person = self.record, self.life.person
        if self.at >= record.plan.end_ms:
            return
        event = Event(
            kind=Kind.EVENT,
            type="event",
            name=feature,
            date=iso(self.at),
            date_ms=self.at,
            user_id=person.user_id,
        )
        row = stored(record.plan.app_id, "", event, self.at, self.at, person.country)
        told = row._replace(company_id=company, flags=row.flags | FROM_BUCKET)
        record.rows.append(told)

    def _delay(self) -> int:
        """Return how late it arrives, in milliseconds: a few were offline."""
        chance = self.record.chance
        if chance.random() < 0.015:
            return int(chance.expovariate(1 / (3 * HOUR)))
        return int(chance.expovariate(1 / 250)) + 20

    def stay(self) -> None:
        """Note how long the program was open, from its start until now."""
        plan, person = self.record.plan, self.life.person
        until = min(self.at, plan.end_ms)
        who = person.user_id if self.life.known else ""
        for first in range(self.began // CELL * CELL, until + 1, CELL):
            low, high = max(first, self.began), min(first + CELL - 1, until)
            beat = Beat(plan.app_id, person.device_id, self.session, who, low, high)
            self.record.facts.append(beat)
