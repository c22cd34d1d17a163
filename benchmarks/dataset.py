"""A believable history, the same for the same seed: what the engines are compared and timed on.

Three apps, up to 50,000 users, 90 days with a daily and a weekly curve. Sessions of about twenty
events; four-digit session ids that recur; people without a name, with two devices, or who sign in
in mid-session; errors with stacks; attributes of every type; retries (0.5 %), late events (0.4 %),
clocks that are not believed (0.1 %), heartbeats, and Bucket's users, companies and feedback.

    for rows, facts in History(1_000_000): store.write(rows, facts)

Rows come in the order of arrival, by the day. About 150,000 rows a second on one core.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from collector.intake.attributes import attributes_of
from collector.store.interface import (
    CLOCK_NOT_BELIEVED,
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

DAY = 86_400_000
CELL = 1_800_000
END = 1_795_219_200_000  #: 2026-11-21T00:00Z
APPS = ("app1", "app2", "app3")
NAMES = [
    "ITEM_PLAYED",
    "ITEM_SAVED",
    "ITEM_CHECKOUT",
    "SEARCH",
    "LOGIN",
    "EXPORT",
    "SHARE",
    "SETTINGS_OPEN",
    "SYNC",
    "PRINT",
] + [f"EV_{n:02}" for n in range(30)]
ERRORS = ("uncaughtException", "unhandledRejection", "RenderError", "NetworkError")
PLATFORMS = ("Windows_NT",) * 6 + ("darwin",) * 2 + ("Mac OS X 10.15.7",) + ("Linux",)
LOCALES = ("en-US", "en_GB", "en", "en-US", "fr-FR", "de", "es", "pt-BR", "ja", "zh-CN", "C")
COUNTRIES = ("US", "US", "FR", "DE", "ES", "BR", "JP", "GB", "", "")
PLANS = ("free",) * 60 + ("pro",) * 25 + ("team",) * 14 + ('ünïcode "q"',)
#: Sessions by the hour of the day: a working day with an evening.
HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 18, 16, 12, 15, 17, 17, 15, 12, 9, 9, 10, 8, 5, 3)


class Said(NamedTuple):
    """A payload and what can be asked about it."""

    payload: str
    keys: list[str]
    values: list[str]


def said(**members: object) -> Said:
    text = json.dumps(members, separators=(",", ":"), ensure_ascii=False)
    return Said(text, *attributes_of(text))


NOTHING = Said("", [], [])
STARTS = [said(plan=plan) for plan in PLANS] + [said()] * 5
PLAYED = [
    said(plan=plan, count=n, ok=bool(n % 2), ratio=n / 4, where={"x": n % 3})
    for plan in dict.fromkeys(PLANS)
    for n in range(20)
] + [NOTHING] * 20
FAILED = [
    said(message=f"boom {n}", stack=f"Error: boom\n at f{n % 5} (a.js:{n}:1)\n at g (b.js:2:2)")
    for n in range(30)
]
PROPS = [said(plan=PLANS[n], seats=n, beta=n % 2 == 0, gone=None) for n in range(0, 100, 9)]


class History:
    """Some days of some apps.

    Args:
        events: How many different ones.
        users: How many there may be.
        days: How far back.
        end: The moment after the last event.
        seed: The same one gives the same history.
        batch: The most rows of one write.

    Iterating gives (rows, facts) to be written together; ``repeats`` counts afterwards how many
    rows came twice.

    """

    def __init__(
        self,
        events: int,
        *,
        users: int = 50_000,
        days: int = 90,
        end: int = END,
        seed: int = 7,
        batch: int = 5_000,
    ) -> None:
        self.events = events
        self.users = max(20, min(users, events // 15))
        self.days = days
        self.end = end
        self.start = end - days * DAY
        self.batch = batch
        self.seed = seed
        self._begin()

    def _begin(self) -> None:
        self.repeats = 0
        self._dice = random.Random(self.seed)
        self._left = self.events
        self._later: defaultdict[int, list[Stored]] = defaultdict(list)
        self._facts: list[Fact] = []

    def __iter__(self) -> Iterator[tuple[list[Stored], list[Fact]]]:
        self._begin()
        weights = [
            (0.55 if day % 7 in (0, 6) else 1.0) * (1 + day / self.days) for day in range(self.days)
        ]
        for day in range(self.days):
            target = (
                self._left
                if day == self.days - 1
                else int(self._left * weights[day] / sum(weights[day:]))
            )
            yield from self._batches(self._day(day, target))
        late = [row for rows in self._later.values() for row in rows]
        yield from self._batches(sorted(late, key=lambda row: row.recv_ts))

    def _batches(self, rows: list[Stored]) -> Iterator[tuple[list[Stored], list[Fact]]]:
        for at in range(0, len(rows), self.batch):
            facts, self._facts = self._facts, []
            yield rows[at : at + self.batch], facts

    def _day(self, day: int, target: int) -> list[Stored]:
        """Return what arrives on one day."""
        dice = self._dice
        midnight = self.start + day * DAY
        fresh: list[Stored] = []
        known = int(self.users * (1 / 3 + 2 / 3 * (day + 1) / self.days))
        before = int(self.users * (1 / 3 + 2 / 3 * day / self.days))
        arrivals = iter(range(before, known))
        hours = dice.choices(range(24), HOURS, k=max(1, target // 12))
        for hour in itertools.cycle(hours):
            if len(fresh) >= target:
                break
            user = next(arrivals, -1) if len(fresh) < target // 2 else -1
            if user < 0:
                user = int(known * dice.random() ** 1.6)
            at = midnight + hour * 3_600_000 + int(dice.random() * 3_600_000)
            fresh += self._bucket(user, at) if user % 33 == 0 else self._session(user, at)
        del fresh[target:]
        self._left -= len(fresh)
        rows = self._later.pop(day, [])
        for row in fresh:
            if row.recv_ts - midnight >= DAY:
                self._later[(row.recv_ts - self.start) // DAY].append(row)
            else:
                rows.append(row)
            if dice.random() < 0.005:
                self.repeats += 1
                again = row._replace(recv_ts=row.recv_ts + int(dice.expovariate(1 / 20_000)))
                self._later[(again.recv_ts - self.start) // DAY].append(again)
        rows += self._later.pop(day, [])
        rows.sort(key=lambda row: row.recv_ts)
        return rows

    def _session(self, user: int, at: int) -> list[Stored]:
        """Return the events of one session, and note its stays."""
        dice = self._dice
        draw = dice.random
        app = APPS[0 if user % 20 < 14 else 1 if user % 20 < 19 else 2]
        second = user % 3 == 0 and draw() < 0.3
        device = f"d{int(second)}{user * 2_654_435_761 % 2**32:08x}"
        anon = f"an{user:010}" if user % 7 or draw() < 0.8 else f"an{user:08}-2"
        name = "" if user % 5 == 0 else f"user{user:06}@example.com"
        signs_in = name and user % 10 == 1 and draw() < 0.5
        session = str(1000 + int(draw() * 9000) if app == "app2" else int(draw() * 9e7) + 10**7)
        version = f"{1 + (at - self.start) // (30 * DAY)}.{user % 3}.0"
        where = (
            PLATFORMS[user % 10],
            ("10.0.19045", "14.5", "6.8.0", "11.0")[user % 4],
            (4, 8, 16, 32, 64, 0)[user % 6],
            version,
            LOCALES[user % 11],
            "nodejs",
            "3.0.9",
            "x64",
            "",
        )
        bare = ("", "", 0, "", "", "", "", "", "")
        machine = f"m{user:08}" if user % 4 == 0 else ""
        country = COUNTRIES[user % 10]
        who = "" if signs_in else name
        rows = []
        count = 1 + int(dice.expovariate(1 / 19))
        first = at
        for n in range(count):
            chance = draw()
            if n == 0 and chance < 0.9:
                kind, type_, label, what = "init", "init", "", STARTS[int(draw() * len(STARTS))]
            elif signs_in and n == 3:
                who = name
                kind, type_, label, what = "userid", "userid", "", NOTHING
            elif chance < 0.94:
                kind, type_, label = "event", "event", NAMES[int(40 * draw() ** 2.5)]
                what = PLAYED[int(draw() * len(PLAYED))]
            elif chance < 0.975:
                kind, type_, label = "error", "error", ERRORS[int(4 * draw() ** 1.5)]
                what = FAILED[int(draw() * 30)]
            elif chance < 0.985:
                kind, type_, label, what = "props", "props", "", PROPS[int(draw() * len(PROPS))]
            else:
                kind, type_, label, what = (
                    "other",
                    "nucleus:view",
                    f"View{int(draw() * 5)}",
                    NOTHING,
                )
            if at >= self.end:
                break
            full = kind in ("init", "error")
            received, happened, flags = at + 20 + int(draw() * 3000), at, 0
            odd = draw()
            if odd < 0.004:
                received += int(draw() * 20 * DAY)
            elif odd < 0.005:
                happened, flags = received, CLOCK_NOT_BELIEVED
            rows.append(
                Stored(
                    app,
                    dice.getrandbits(64) - 2**63,
                    dice.getrandbits(64) - 2**63,
                    happened,
                    received,
                    at if not flags else at + 400 * DAY,
                    kind,
                    type_,
                    label,
                    f'"{len(rows)}-{at}"',
                    who,
                    anon,
                    device,
                    session,
                    *(where if full else bare),
                    flags,
                    what.payload,
                    machine,
                    "",
                    country,
                    "",
                    "",
                    what.keys,
                    what.values,
                )
            )
            last = at
            at += 1 + int(dice.expovariate(1 / 45_000))
            if draw() < 0.003:
                at += CELL + int(draw() * CELL)
        if rows and last - first > 60_000:
            self._stays(app, device, session, who, first, min(last + 60_000, self.end - 1))
        return rows

    def _stays(self, app: str, device: str, session: str, who: str, first: int, last: int) -> None:
        """Note a stay, cut where a cell of 30 minutes ends."""
        while first <= last:
            end = min(last, first - first % CELL + CELL - 1)
            self._facts.append(Beat(app, device, session, who, first, end))
            first = end + 1

    def _bucket(self, user: int, at: int) -> list[Stored]:
        """Return what a server says of one user over the Bucket API."""
        dice = self._dice
        app = APPS[user % 2]
        who, company = f"user{user:06}@example.com", f"company{user % 61}"
        facts = self._facts
        facts += (
            Seen(app, "user", who, at, at),
            Seen(app, "company", company, at, at),
            Attribute(app, "user", who, "name", json.dumps(f"Person {user}"), at, at),
            Attribute(app, "user", who, "visits", str(int(dice.random() * 9)), at, at + 1),
            Attribute(
                app,
                "company",
                company,
                "plan",
                f'"{PLANS[user % 100]}"'.replace('"q"', "q"),
                at,
                at,
            ),
            Membership(app, who, company, at, at),
        )
        if dice.random() < 0.2:
            score = float(int(dice.random() * 6))
            id_, feature = f"f{user}-{at}", f"feature{user % 4}"
            word = ("", "widget", "", "", at, at + 20, "{}")
            facts.append(Feedback(app, id_, feature, who, company, score, "good", *word[1:]))
        rows = []
        for n in range(1 + int(dice.random() * 6)):
            what = PLAYED[int(dice.random() * len(PLAYED))]
            happened = min(at + n * 7_000, self.end - 1)
            rows.append(
                Stored(
                    app,
                    dice.getrandbits(64) - 2**63,
                    dice.getrandbits(64) - 2**63,
                    happened,
                    happened + 30,
                    happened,
                    "event",
                    "event",
                    NAMES[int(40 * dice.random() ** 2.5)],
                    "",
                    who,
                    "",
                    "",
                    "",
                    *("", "", 0, "", "", "", "", "", ""),
                    FROM_BUCKET | (INACTIVE if n == 5 else 0),
                    what.payload,
                    "",
                    company,
                    "",
                    "",
                    "",
                    what.keys,
                    what.values,
                )
            )
        return rows
