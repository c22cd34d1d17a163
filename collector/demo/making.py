"""Believable data for trying things out: an app of ninety days, and the people who use it.

    Person ── day by day ──► sessions ──► events, stays, Bucket's facts ──► Store

The same seed, end and size make the same rows, so a second run adds nothing. What a person should
find in it: growth with a weekly rhythm, an article that brings visitors for a few days, versions
that spread over weeks, a bad release that is put right two days later, an onboarding that loses
people at each step, firms that work with it, and their opinions.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from collector.demo.people import DAY, HOUR, WEEKEND, Person, people, weekday_of
from collector.demo.record import Life, Plan, Record, Sender
from collector.demo.words import (
    CRASH,
    ERRORS,
    FEATURES,
    FLAGSHIPS,
    OPINIONS,
    STEPS,
    payload_of,
)
from collector.store.interface import (
    Attribute,
    Fact,
    Feedback,
    Membership,
    Seen,
    Stored,
)
from tracking.events import Kind

APP_NAME: Final = "Acme Notes (demo)"
GIVES_UP: Final = 0.6  #: Of those who leave a later step of the way.
_HOURS: Final = (2, 1, 1, 1, 1, 2, 5, 9, 15, 19, 18, 15, 11, 14, 17, 16, 14, 11, 8, 8, 9, 8, 6, 4)
#: Version, when it came out as a part of the whole time, the chance of an error in a session.
_RELEASES: Final = (
    ("2.0.0", -1.0, 0.012),
    ("2.1.0", 0.16, 0.011),
    ("2.2.0", 0.37, 0.009),
    ("2.3.0", 0.61, 0.24),
    ("2.3.1", 0.633, 0.009),
    ("2.4.0", 0.85, 0.008),
)
_BAD: Final = "2.3.0"


class Day(NamedTuple):
    """What happened on one day, in the order of arrival, and how many days are done."""

    rows: list[Stored]
    facts: list[Fact]
    done: int


def story(plan: Plan) -> Iterator[Day]:
    """Yield the days."""
    return _Story(plan).days()


class _Story:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed)  # noqa: S311 - a story, not a secret
        self.record = Record(plan, self.chance)
        span = plan.days * DAY
        self.releases = [
            (name, plan.start_ms + int(at * span), errs) for name, at, errs in _RELEASES
        ]

    def days(self) -> Iterator[Day]:
        plan, chance = self.plan, self.chance
        coming = [Life(person) for person in people(chance, plan.users, plan.days, plan.start_ms)]
        coming.reverse()  # taken from the end
        here: list[Life] = []
        for number in range(plan.days):
            midnight = plan.start_ms + number * DAY
            while coming and coming[-1].person.joined_ms < midnight + DAY:
                life = coming.pop()
                here.append(life)
                self._visit(life, life.person.joined_ms)
            usual = WEEKEND if weekday_of(midnight) >= 5 else 1.0
            for life in here:
                person = life.person
                often = person.habit * (person.weekend if usual < 1 else 1.0)
                if chance.random() < often:
                    self._visits_of_a_day(life, midnight)
            here = [life for life in here if not _is_gone(life.person, midnight + DAY)]
            rows, facts = self.record.taken()
            rows.sort(key=lambda row: row.recv_ts)
            yield Day(rows, facts, number + 1)

    def _visits_of_a_day(self, life: Life, midnight: int) -> None:
        chance = self.chance
        for _ in range(1 + (chance.random() < 0.45) + (chance.random() < 0.2)):
            hour = chance.choices(range(24), _HOURS)[0] + chance.random()
            at = midnight + int((hour - life.person.zone_h) % 24 * HOUR)
            if at > life.last_ms + 5 * 60_000:
                self._visit(life, at)

    # --- one session ---------------------------------------------------------------------------

    def _visit(self, life: Life, at: int) -> None:
        chance, person = self.chance, life.person
        if at >= self.plan.end_ms or at < person.joined_ms:
            return
        version, errors = self._version(person, at)
        says = Sender(self.record, life, version, str(chance.randrange(1000, 1_000_000)), at)
        life.sessions += 1
        started = {"plan": life.plan} if life.known else {}
        says.event(Kind.INIT, "", payload_of(started))
        self._onboard(life, says)
        crashed = chance.random() < errors
        for _ in range(min(40, 1 + int(chance.lognormvariate(1.35, 0.8)))):
            says.wait(min(1500.0, chance.lognormvariate(4.0, 1.1)))
            name, make = chance.choices(FEATURES, [f[2] for f in FEATURES])[0][:2]
            says.event(Kind.EVENT, name, make(chance))
            if crashed and chance.random() < 0.5:
                break
        if crashed:
            says.wait(2.0)
            self._crash(says, bad=version == _BAD)
        if person.company is not None and life.known and says.at < self.plan.end_ms:
            self._at_work(life, says)
        says.wait(chance.uniform(5, 90))
        says.stay()
        life.last_ms = says.at

    def _version(self, person: Person, at: int) -> tuple[str, float]:
        """Return what somebody runs, and how often it fails."""
        chosen = self.releases[0]
        for (name, out_ms, errors), (_, next_ms, _) in itertools.pairwise(
            [*self.releases, ("", self.plan.end_ms, 0.0)]
        ):
            has_ms = max(person.joined_ms, out_ms)
            if person.joined_ms < out_ms:
                has_ms = out_ms + int(min(person.lag_days, 10_000) * DAY)
            if has_ms <= at and (name != _BAD or has_ms < next_ms):  # it was withdrawn
                chosen = (name, out_ms, errors)
        return chosen[0], chosen[2]

    def _onboard(self, life: Life, says: Sender) -> None:
        """Take the next steps; most people stop somewhere."""
        chance, person = self.chance, life.person
        while life.step < len(STEPS):
            name, share, after_h = STEPS[life.step]
            if says.at < person.joined_ms + after_h * HOUR:
                return
            if name == "account.created" and not person.signs_up:
                return
            if chance.random() >= share:
                if after_h == 0 or chance.random() < GIVES_UP:
                    life.step = len(STEPS)  # who leaves does not come back to it
                return
            says.wait(chance.uniform(8, 120))
            if says.at >= self.plan.end_ms:
                return
            life.step += 1
            says.event(Kind.EVENT, name, payload_of({}))
            if name == "account.created":
                self._sign_up(life, says)
            if name == "payment.succeeded":
                life.plan = "pro"
                self._attributes(life, says.at, {"plan": "pro"})
                says.event(Kind.PROPS, "", payload_of({"plan": "pro", "name": person.name}))

    def _sign_up(self, life: Life, says: Sender) -> None:
        person = life.person
        life.known = True
        says.event(Kind.USERID, "", None)
        says.event(Kind.PROPS, "", payload_of({"plan": "free", "name": person.name}))
        mail = f"{person.user_id}@example.com"
        self._attributes(life, says.at, {"name": person.name, "email": mail, "plan": "free"})
        if person.company is not None:
            firm, app = person.company, self.plan.app_id
            told = {"name": firm.name, "industry": firm.industry, "plan": firm.plan}
            self.record.facts.append(Membership(app, person.user_id, firm.id, says.at, says.at))
            self.record.facts.append(Seen(app, "company", firm.id, says.at, says.at))
            self.record.facts += [
                Attribute(app, "company", firm.id, key, json.dumps(value), says.at, says.at)
                for key, value in told.items()
            ]

    def _attributes(self, life: Life, at: int, told: dict[str, str]) -> None:
        app, who = self.plan.app_id, life.person.user_id
        self.record.facts.append(Seen(app, "user", who, at, at))
        self.record.facts += [
            Attribute(app, "user", who, key, json.dumps(value), at, at)
            for key, value in told.items()
        ]

    def _crash(self, says: Sender, *, bad: bool) -> None:
        chance = self.chance
        for _ in range(chance.randrange(1, 4) if bad else 1):
            name, make = CRASH if bad else chance.choices(ERRORS, (5, 4, 2))[0]
            says.event(Kind.ERROR, name, make(chance))
            says.wait(chance.uniform(0.5, 4))

    def _at_work(self, life: Life, says: Sender) -> None:
        """Tell what a firm's people do with the flagships, and now and then what they think."""
        chance, person, app = self.chance, life.person, self.plan.app_id
        assert person.company is not None
        firm = person.company.id
        for feature, uses, mean in FLAGSHIPS:
            if chance.random() < uses:
                says.bucket_event(feature, firm)
                if chance.random() < 0.018 and life.rated < 2:
                    life.rated += 1
                    score = max(1, min(5, round(chance.gauss(mean, 0.9))))
                    said = chance.choice(OPINIONS[score])
                    call = {
                        "featureId": feature,
                        "userId": person.user_id,
                        "companyId": firm,
                        "score": score,
                        "comment": said,
                    }
                    self.record.facts.append(
                        Feedback(
                            app,
                            f"f-{chance.getrandbits(48):012x}",
                            feature,
                            person.user_id,
                            firm,
                            float(score),
                            said,
                            "widget",
                            "",
                            "",
                            says.at,
                            says.at,
                            json.dumps(call),
                        )
                    )
        self.record.facts.append(Seen(app, "company", firm, 0, says.at))


def _is_gone(person: Person, at: int) -> bool:
    return at > person.joined_ms + person.stays_days * DAY


Write = Callable[[Sequence[Stored], Sequence[Fact]], int]


def tell(plan: Plan, write: Write, progress: Callable[[int, int], None]) -> int:
    """Write the whole story; return how many events were new.

    Args:
        plan: What.
        write: Stores rows and facts durably.
        progress: Told the days that are done, and of how many.

    """
    new = 0
    for rows, facts, done in story(plan):
        for at in range(0, max(len(rows), 1), 5_000):
            part = facts if at == 0 else []
            new += write(rows[at : at + 5_000], part)
        progress(done, plan.days)
    return new


def newcomers(plan: Plan) -> list[Person]:
    """Return the people of a plan, for who goes on with the story."""
    chance = random.Random(plan.seed)  # noqa: S311
    return people(chance, plan.users, plan.days, plan.start_ms)


def is_around(person: Person, now_ms: int) -> bool:
    """Whether somebody still uses the program."""
    return person.joined_ms <= now_ms and not _is_gone(person, now_ms)
