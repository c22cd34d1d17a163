"""The people of a demo: who they are, when they come, how long they stay. All of it made up.

Everything is drawn from one source of chance, so the same seed makes the same people. The shares
are those of an ordinary desktop program: most visitors never come back, a quarter works with it.
"""

from __future__ import annotations

import math
import random
from typing import Final, NamedTuple

DAY: Final = 86_400_000
HOUR: Final = 3_600_000
WEEKEND: Final = 0.5  #: Of a weekday's arrivals.

#: Country, share, hours east of UTC, language.
PLACES: Final = (
    ("US", 30, -6, "en-US"),
    ("DE", 13, 1, "de-DE"),
    ("GB", 10, 0, "en-GB"),
    ("FR", 8, 1, "fr-FR"),
    ("BR", 7, -3, "pt-BR"),
    ("IN", 7, 5, "en-IN"),
    ("JP", 6, 9, "ja-JP"),
    ("ES", 5, 1, "es-ES"),
    ("NL", 4, 1, "nl-NL"),
    ("CA", 4, -5, "en-CA"),
    ("PL", 3, 1, "pl-PL"),
    ("AU", 3, 10, "en-AU"),
)
#: Platform as clients send it, its versions with shares, its processors.
SYSTEMS: Final = (
    ("win32", 55, (("10.0.22631", 6), ("10.0.19045", 3), ("10.0.26100", 3)), ("x64",)),
    ("darwin", 33, (("24.6.0", 5), ("23.6.0", 3), ("25.1.0", 2)), ("arm64", "arm64", "x64")),
    ("linux", 12, (("6.8.0", 4), ("6.12.48", 3), ("5.15.0", 2)), ("x64",)),
)
MEMORY: Final = ((8, 25), (16, 48), (32, 20), (64, 7))  #: Whole GB.
GIVEN: Final = (
    *(
        "Ada",
        "Amir",
        "Anna",
        "Ben",
        "Carla",
        "Chen",
        "Dana",
        "Eli",
        "Emma",
        "Felix",
        "Grace",
        "Hugo",
    ),
    *("Ines", "Ivan", "Jana", "Jonas", "Kaito", "Lea", "Liam", "Lucia", "Maya", "Milan", "Nina"),
    *(
        "Noah",
        "Olga",
        "Omar",
        "Paula",
        "Ravi",
        "Rosa",
        "Sam",
        "Sofia",
        "Tom",
        "Uma",
        "Vera",
        "Yuki",
    ),
)
FAMILY: Final = (
    *("Adler", "Bauer", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Huang", "Ito", "Jansen"),
    *("Keller", "Lopez", "Moreau", "Novak", "Okafor", "Patel", "Quinn", "Rossi", "Silva", "Tanaka"),
    *("Ueda", "Vogel", "Walsh", "Young", "Zeman"),
)
FIRMS: Final = (
    "Alder",
    "Birch",
    "Cobalt",
    "Delta",
    "Ember",
    "Falcon",
    "Granite",
    "Harbor",
    "Indigo",
)
TRADES: Final = ("Design", "Labs", "Logistics", "Media", "Partners", "Software", "Studio")
INDUSTRIES: Final = ("software", "education", "health", "retail", "finance", "media")


class Company(NamedTuple):
    """A firm that some of the people work for."""

    id: str
    name: str
    industry: str
    plan: str
    weight: float  #: How large, against the others.


class Person(NamedTuple):
    """One person with one device.

    Attributes:
        joined_ms: When they start the program for the first time.
        stays_days: After so many days they are gone.
        habit: Chance of a visit on an ordinary day.
        weekend: The same on a Saturday or Sunday, as a part of it.
        zone_h: Hours east of UTC.
        lag_days: How long after a release they have it; infinite for who never updates.
        signs_up: Makes an account and so gets a userId.

    """

    number: int
    device_id: str
    anon_id: str
    user_id: str
    name: str
    joined_ms: int
    stays_days: float
    habit: float
    weekend: float
    zone_h: int
    country: str
    language: str
    platform: str
    os_version: str
    arch: str
    ram: int
    lag_days: float
    signs_up: bool
    company: Company | None


def companies(chance: random.Random, count: int) -> list[Company]:
    """Return firms, a few of them large."""
    made: list[Company] = []
    for number in range(count):
        name = f"{chance.choice(FIRMS)} {chance.choice(TRADES)}"
        made.append(
            Company(
                f"c-{number + 1:04}",
                name,
                chance.choice(INDUSTRIES),
                chance.choices(("trial", "team", "business"), (3, 5, 2))[0],
                1 / (number + 3) ** 0.8,
            )
        )
    return made


def people(chance: random.Random, count: int, days: int, start_ms: int) -> list[Person]:
    """Return people in the order in which they come.

    Args:
        chance: Where everything is drawn from.
        count: How many.
        days: Over how many days they come.
        start_ms: Midnight (UTC) of the first of them.

    """
    firms = companies(chance, max(1, count // 30))
    sizes = [firm.weight for firm in firms]
    arrivals = [_arrivals(day, days, start_ms, chance) for day in range(days)]
    hours = (1, 1, 1, 1, 1, 2, 4, 7, 12, 15, 15, 13, 10, 12, 14, 14, 12, 10, 8, 8, 8, 7, 4, 2)
    made: list[Person] = []
    for day in sorted(chance.choices(range(days), arrivals, k=count)):
        country, _, zone_h, language = chance.choices(PLACES, [p[1] for p in PLACES])[0]
        platform, _, versions, archs = chance.choices(SYSTEMS, [s[1] for s in SYSTEMS])[0]
        local_h = chance.choices(range(24), hours)[0] + chance.random()
        joined = start_ms + day * DAY + int((local_h - zone_h) * HOUR)
        stays_days, habit = _habit(chance)
        signs_up = chance.random() < 0.72
        first, last = chance.choice(GIVEN), chance.choice(FAMILY)
        made.append(
            Person(
                number=len(made),
                device_id=f"{chance.getrandbits(64):016x}",
                anon_id=_nano(chance),
                user_id=f"{first}.{last}.{len(made) + 1}".lower() if signs_up else "",
                name=f"{first} {last}",
                joined_ms=max(start_ms, joined),
                stays_days=stays_days,
                habit=habit,
                weekend=chance.choice((0.15, 0.2, 0.3, 0.4, 1.1)),
                zone_h=zone_h,
                country=country,
                language=language if chance.random() < 0.9 else "en-US",
                platform=platform,
                os_version=chance.choices([v[0] for v in versions], [v[1] for v in versions])[0],
                arch=chance.choice(archs),
                ram=chance.choices([m[0] for m in MEMORY], [m[1] for m in MEMORY])[0],
                lag_days=_lag(chance),
                signs_up=signs_up,
                company=chance.choices(firms, sizes)[0]
                if signs_up and habit > 0.2 and chance.random() < 0.6
                else None,
            )
        )
    return made


def _arrivals(day: int, days: int, start_ms: int, chance: random.Random) -> float:
    """Return how many come on a day, against the others: growth, weekends, one good article."""
    weekday = weekday_of(start_ms + day * DAY)
    growth = 0.6 + 1.1 * day / days
    article = 0.45 * days
    noise = 2.2 * math.exp(-(day - article) / 2.0) if 0 <= day - article < 10 else 0.0
    usual = growth * (WEEKEND if weekday >= 5 else 1.0)
    return (usual + noise) * chance.uniform(0.85, 1.15)


def _habit(chance: random.Random) -> tuple[float, float]:
    """Return how long somebody stays, in days, and how often they come."""
    kind = chance.random()
    if kind < 0.42:
        return chance.expovariate(1 / 1.5), 0.25  # had a look
    if kind < 0.75:
        return chance.expovariate(1 / 35), chance.uniform(0.08, 0.25)  # now and then
    return chance.expovariate(1 / 220), chance.uniform(0.45, 0.9)  # works with it


def _lag(chance: random.Random) -> float:
    kind = chance.random()
    if kind < 0.62:
        return chance.uniform(0.0, 2.0)
    return chance.expovariate(1 / 8) if kind < 0.93 else math.inf


def weekday_of(ms: int) -> int:
    """Return 0 for a Monday, 6 for a Sunday (UTC)."""
    return (ms // DAY + 3) % 7


def _nano(chance: random.Random) -> str:
    letters = "useandom26T198340PX75pxJACKVERYMINDBUSHWOLFGQZbfghjklqvwyzrict_-"
    return "".join(chance.choices(letters, k=12))
