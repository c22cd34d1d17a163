"""What the people of a demo do, and what goes wrong: names, payloads, shares. All of it made up."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Mapping
from typing import Final

Payload = bytes
Make = Callable[[random.Random], Payload | None]


@functools.lru_cache(maxsize=4096)
def _encoded(pairs: tuple[tuple[str, object], ...]) -> bytes:
    return json.dumps(dict(pairs), separators=(",", ":")).encode()


def payload_of(members: Mapping[str, object]) -> Payload | None:
    """Return members as the sender's JSON object, None if there are none."""
    return _encoded(tuple(members.items())) if members else None


def _created(chance: random.Random) -> Payload | None:
    template = chance.choices(("blank", "meeting", "journal", "project"), (8, 5, 2, 2))[0]
    return payload_of({"template": template, "words": chance.randrange(0, 400, 10)})


def _edited(chance: random.Random) -> Payload | None:
    return payload_of({"words": chance.randrange(0, 900, 25), "offline": chance.random() < 0.07})


def _searched(chance: random.Random) -> Payload | None:
    return payload_of({"results": min(60, int(chance.expovariate(1 / 7)))})


def _shared(chance: random.Random) -> Payload | None:
    return payload_of({"channel": chance.choices(("link", "mail", "team"), (6, 3, 4))[0]})


def _exported(chance: random.Random) -> Payload | None:
    return payload_of({"format": chance.choices(("pdf", "markdown", "html"), (7, 4, 1))[0]})


def _synced(chance: random.Random) -> Payload | None:
    seconds = round(min(30.0, chance.lognormvariate(-0.4, 0.7)), 1)
    return payload_of({"seconds": seconds, "items": chance.randrange(1, 30)})


def _set(chance: random.Random) -> Payload | None:
    return payload_of({"key": chance.choice(("theme", "font", "shortcuts", "proxy"))})


#: Name, payload, how often against the others.
FEATURES: Final[tuple[tuple[str, Make, float], ...]] = (
    ("note.edited", _edited, 34),
    ("sync.completed", _synced, 20),
    ("note.created", _created, 14),
    ("search", _searched, 12),
    ("note.shared", _shared, 5),
    ("note.exported", _exported, 4),
    ("settings.changed", _set, 2),
    ("invite.sent", lambda _: None, 0.6),
)

#: The way in and on: name, who goes it of those who came this far, hours after the first start.
STEPS: Final = (
    ("onboarding.started", 0.97, 0),
    ("account.created", 0.93, 0),
    ("onboarding.finished", 0.81, 0),
    ("upgrade.viewed", 0.22, 48),
    ("checkout.started", 0.38, 48),
    ("payment.succeeded", 0.61, 48),
)


def _bad_release(chance: random.Random) -> Payload | None:
    line = chance.choice((88, 88, 88, 131))
    return _encoded(
        (
            ("message", "TypeError: Cannot read properties of undefined (reading 'blocks')"),
            (
                "stack",
                "TypeError: Cannot read properties of undefined (reading 'blocks')\n"
                f"    at openNote (app://notes/editor.js:{line}:17)\n"
                "    at onSelect (app://notes/sidebar.js:41:9)",
            ),
        )
    )


def _offline(chance: random.Random) -> Payload | None:
    host = chance.choice(("sync", "files"))
    return _encoded(
        (
            ("message", f"Error: getaddrinfo ENOTFOUND {host}.acme.example"),
            (
                "stack",
                f"Error: getaddrinfo ENOTFOUND {host}.acme.example\n"
                "    at GetAddrInfoReqWrap.onlookup (node:dns:107:26)",
            ),
        )
    )


def _conflict(chance: random.Random) -> Payload | None:
    return _encoded(
        (("message", "SyncConflict: two edits of one note"), ("tries", chance.randrange(1, 4)))
    )


def _render(chance: random.Random) -> Payload | None:
    del chance
    return _encoded(
        (
            ("message", "RangeError: Maximum call stack size exceeded"),
            (
                "stack",
                "RangeError: Maximum call stack size exceeded\n"
                "    at measure (app://notes/layout.js:212:5)\n"
                "    at measure (app://notes/layout.js:219:11)",
            ),
        )
    )


CRASH: Final[tuple[str, Make]] = ("uncaughtException", _bad_release)
ERRORS: Final[tuple[tuple[str, Make], ...]] = (
    ("unhandledRejection", _offline),
    ("SyncConflict", _conflict),
    ("uncaughtException", _render),
)

#: Bucket features: id, who of a firm uses it in a session, what they think of it on average.
FLAGSHIPS: Final = (
    ("smart-search", 0.30, 4.3),
    ("shared-folders", 0.22, 3.9),
    ("auto-summary", 0.12, 2.9),
    ("offline-mode", 0.07, 3.6),
)

OPINIONS: Final = {
    5: ("Saves me an hour a week.", "Exactly what we needed.", "Love it."),
    4: ("Good, could be faster.", "Works well for our team.", "Nice. A shortcut would help."),
    3: ("Fine.", "Useful now and then.", "It takes a while to find."),
    2: ("Often not what I meant.", "Too slow with long notes.", ""),
    1: ("Lost my text twice.", "I turned it off.", "Does not work for me."),
}
