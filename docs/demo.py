"""Invented snapshots for pictures and tests: an agent that is well, offline, refused, paused, new.

The apps, the people and the numbers are a demonstration. ``hostile`` is what somebody would send
who wants to break the window. Over 400 lines, because it is one table of states, to be compared.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TypeVar

import msgspec

from agent.door import (
    AppStatus,
    Depth,
    Facts,
    Glance,
    LinkStatus,
    LiveUser,
    Minute,
    Notice,
    Passing,
    Pause,
    Sentence,
    Status,
)

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
T = TypeVar("T", bound=msgspec.Struct)

NAMES = (
    ("document.opened", '{"kind":"note","words":412}'),
    ("search", '{"results":7,"ms":31}'),
    ("export.finished", '{"format":"pdf","pages":12}'),
    ("sync.finished", '{"files":3,"ms":840}'),
    ("theme.changed", '{"to":"dark"}'),
    ("build.finished", '{"target":"release","ok":true,"s":48}'),
)
PEOPLE = ("ada", "grace", "linus", "mary", "alan", "katherine", "edsger", "barbara", "ken", "radia")
SYSTEMS = (("Linux", "Debian 12"), ("Windows", "11"), ("macOS", "15.1"))
COUNTRIES = ("DE", "PL", "EG", "BR", "JP", "US")


def full(now: int, chance: random.Random) -> Status:
    """Return an hour in the life of a busy, healthy agent."""
    minutes = []
    for back in range(59, -1, -1):
        accepted = max(0, round(46 + 22 * math.sin((59 - back) / 7) + chance.gauss(0, 5)))
        delivered = accepted
        if 26 <= back <= 29:
            delivered = 0  # a short cut of the network, and its aftermath
        elif 23 <= back <= 25:
            delivered = accepted + 38
        minutes.append(Minute(at_ms=now - back * MINUTE_MS, accepted=accepted, delivered=delivered))
    users = tuple(
        LiveUser(
            device_id=f"{chance.getrandbits(64):016x}",
            user_id=name,
            platform=SYSTEMS[at % 3][0],
            os_version=SYSTEMS[at % 3][1],
            country=COUNTRIES[at % 6],
            last_seen_ms=now - at * 9_000,
        )
        for at, name in enumerate(PEOPLE)
    )
    return Status(
        at_ms=now,
        version="0.1.0",
        pid=4711,
        started_ms=now - 26 * HOUR_MS,
        sentence=Sentence(
            state="live",
            text="Everything up to a moment ago has been delivered.",
            since_ms=now - 23 * MINUTE_MS,
        ),
        links=(
            LinkStatus(
                app_id="acme-notes",
                kind="nucleus",
                endpoint="wss://collect.example.org",
                state="live",
                since_ms=now - 23 * MINUTE_MS,
                latency_ms=38.4,
                last_ack_ms=now - 2_000,
                sent_bytes=8_411_230,
                received_bytes=902_144,
                in_flight=2,
                dials=3,
            ),
        ),
        apps=(
            AppStatus(
                app_id="acme-notes",
                name="Acme Notes",
                consent="allowed",
                consent_from="settings file",
                accepted=48_210,
                delivered=48_206,
                pending=4,
                repeats=12,
            ),
            AppStatus(
                app_id="acme-build",
                name="Acme Build",
                consent="allowed",
                consent_from="this computer",
                accepted=7_940,
                delivered=7_937,
                pending=0,
                dead=3,
            ),
        ),
        depth=Depth(
            events=4, bytes=1_204, max_events=1_000_000, max_bytes=256 * 1024**2, drained_in_s=1.0
        ),
        minutes=tuple(minutes),
        glance=Glance(
            source="collector",
            at_ms=now,
            app_starts=212,
            previous_app_starts=197,
            errors=3,
            previous_errors=9,
            events=18_442,
            previous_events=17_030,
            users=148,
            previous_users=136,
        ),
        live_count=len(users),
        live_users=users,
        facts=Facts(
            platform="Linux",
            os_version="Debian 12",
            total_ram=16,
            language="en-GB",
            arch="x86_64",
            device_id="3f9c1be27a04d615",
            key_kept_in="keyring",
        ),
        default_app="acme-notes",
        address="/run/user/1000/homing/agent.sock",
        settings_file="/home/demo/.config/homing/homing.toml",
    )


def passing(now: int, chance: random.Random, n: int = 40) -> tuple[Passing, ...]:
    """Return events as they might have passed, oldest first."""
    events = []
    for back in range(n, 0, -1):
        name, payload = chance.choice(NAMES)
        kind = "event"
        if back % 17 == 5:
            name, payload, kind = "disk.full", '{"path":"/mnt/usb","free":0}', "error"
        events.append(
            Passing(
                at_ms=now - back * 2_700,
                app_id="acme-build" if name.startswith("build") else "acme-notes",
                id=f"{chance.getrandbits(64):016x}",
                type=kind,
                name=name,
                user_id=chance.choice(PEOPLE),
                size=140 + len(payload),
                payload=payload,
            )
        )
    return tuple(events)


def offline(now: int, chance: random.Random) -> Status:
    """Return an agent that is cut off and keeps everything."""
    link = LinkStatus(
        app_id="acme-notes",
        kind="nucleus",
        endpoint="wss://collect.example.org",
        state="waiting",
        since_ms=now - 12 * MINUTE_MS,
        reason="connection refused",
        code="link.unreachable",
        next_try_ms=now + 40_000,
        latency_ms=38.4,
        last_ack_ms=now - 12 * MINUTE_MS,
        sent_bytes=8_411_230,
        received_bytes=902_144,
        dials=9,
    )
    return _changed(
        full(now, chance),
        sentence=Sentence(
            state="offline",
            text="Offline 12 min: connection refused. 214 events safe. Next try in 40 s.",
            code="link.unreachable",
            reason="connection refused",
            since_ms=now - 12 * MINUTE_MS,
            next_step="Next try in 40 s",
        ),
        links=(link,),
        depth=Depth(
            events=214,
            bytes=41_200,
            max_events=1_000_000,
            max_bytes=256 * 1024**2,
            oldest_ms=now - 12 * MINUTE_MS,
            full_in_s=9 * 86400.0,
        ),
        live_count=None,
        live_users=(),
    )


def attention(now: int, chance: random.Random) -> Status:
    """Return an agent that needs a person."""
    link = LinkStatus(
        app_id="acme-notes",
        kind="nucleus",
        endpoint="wss://collect.example.org",
        state="parked",
        since_ms=now - 3 * HOUR_MS,
        reason="the far end does not know this app",
        code="link.refused",
        dials=4,
    )
    return _changed(
        full(now, chance),
        sentence=Sentence(
            state="attention",
            text="The far end refuses acme-notes: no such app. 9,120 events safe.",
            code="link.refused",
            reason="no such app",
            since_ms=now - 3 * HOUR_MS,
            next_step="Check the app's id in the settings file, then retry",
        ),
        links=(link,),
        depth=Depth(
            events=9_120,
            bytes=212 * 1024**2,
            max_events=1_000_000,
            max_bytes=256 * 1024**2,
            oldest_ms=now - 3 * HOUR_MS,
            dead=37,
            full_in_s=7_800.0,
        ),
        notices=(
            Notice(
                code="secret.file",
                text="The device key is kept in a file, unencrypted: this computer has no keyring.",
                severity="warning",
                since_ms=now - 3 * HOUR_MS,
            ),
            Notice(
                code="storage.full",
                text="The disk is nearly full: 212 MiB of 256 MiB are in use.",
                severity="error",
                since_ms=now - HOUR_MS,
            ),
        ),
    )


def paused(now: int, chance: random.Random) -> Status:
    """Return an agent that a person paused."""
    return _changed(
        full(now, chance),
        sentence=Sentence(
            state="paused",
            text="Sending paused until 15:32. Events are kept safe meanwhile.",
            since_ms=now - 5 * MINUTE_MS,
        ),
        pause=Pause(reason="you asked", since_ms=now - 5 * MINUTE_MS, until_ms=now + HOUR_MS),
    )


def asked(now: int, chance: random.Random) -> Status:
    """Return an agent at which apps knock that nobody allowed."""
    status = full(now, chance)
    knocking = (
        ("acme-recorder", "/opt/acme/recorder/bin/acme-recorder", 12),
        ("acme-mail", "/usr/lib/acme-mail/acme-mail", 3),
    )
    return _changed(
        status,
        apps=(
            *status.apps,
            *(
                AppStatus(
                    app_id=app_id,
                    name=app_id,
                    consent="pending",
                    consent_from="not asked yet",
                    asking=True,
                    knocks=4,
                    offered=offered,
                    executable=executable,
                    pid=20_417,
                    first_knock_ms=now - 3 * MINUTE_MS,
                )
                for app_id, executable, offered in knocking
            ),
        ),
        strangers_go_to="wss://collect.example.org",
    )


def empty(now: int, _chance: random.Random) -> Status:
    """Return an agent on its first day, without a far end."""
    return Status(
        at_ms=now,
        version="0.1.0",
        pid=4711,
        started_ms=now - 20_000,
        sentence=Sentence(
            state="attention",
            text="No far end is set: events are kept safe on this disk, and go nowhere yet.",
            code="upstream.none",
            since_ms=now - 20_000,
        ),
        apps=(
            AppStatus(
                app_id="acme-notes",
                name="Acme Notes",
                consent="allowed",
                consent_from="settings file",
            ),
        ),
        depth=Depth(max_events=1_000_000, max_bytes=256 * 1024**2),
        keeping="offered",
        default_app="acme-notes",
        address="/run/user/1000/homing/agent.sock",
        facts=full(now, random.Random(1)).facts,
    )


def arabic(now: int, chance: random.Random) -> Status:
    """Return a snapshot whose outer texts run from right to left."""
    base = full(now, chance)
    names = ("ليلى", "عمر", "فاطمة", "سارة", "يوسف")
    return _changed(
        base,
        sentence=Sentence(
            state="offline",
            text="غير متصل منذ ١٢ دقيقة: رُفض الاتصال. ٢١٤ حدثًا محفوظة بأمان.",
            since_ms=now - 12 * MINUTE_MS,
            next_step="المحاولة التالية بعد ٤٠ ثانية",
        ),
        live_users=tuple(
            _changed(user, user_id=names[at % 5]) for at, user in enumerate(base.live_users)
        ),
        apps=(_changed(base.apps[0], name="ملاحظات أكمي"), base.apps[1]),
    )


def hostile(now: int, chance: random.Random) -> Status:
    """Return what somebody would send who wants to break the window."""
    base = full(now, chance)
    bad = "<img src=/etc/passwd>" + "\u202e" + "gnp.exe\x00" + "W" * 1_000_000
    return _changed(
        base,
        sentence=_changed(base.sentence, text=bad, next_step=bad, reason="other" + bad),
        apps=tuple(
            _changed(app, name=bad, app_id=bad, asking=True, executable=bad, consent_from=bad)
            for app in base.apps
        ),
        strangers_go_to=bad,
        links=tuple(
            _changed(link, endpoint=bad, state="waiting", reason=bad) for link in base.links
        ),
        live_users=tuple(
            _changed(user, user_id=bad, platform=bad, country=bad) for user in base.live_users
        ),
        notices=(Notice(code="x", text=bad, severity="error", since_ms=now),),
        facts=_changed(
            base.facts or Facts(platform="", os_version="", total_ram=0, language="", arch=""),
            platform=bad,
            language=bad,
            device_id=bad,
        ),
        depth=Depth(
            events=2**63, bytes=2**63, max_events=1, max_bytes=1, dead=2**62, full_in_s=1e12
        ),
    )


STATES: dict[str, Callable[[int, random.Random], Status]] = {
    "full": full,
    "offline": offline,
    "attention": attention,
    "paused": paused,
    "asked": asked,
    "empty": empty,
    "hostile": hostile,
}


def _changed(struct: T, **changes: object) -> T:
    return msgspec.structs.replace(struct, **changes)


GERMAN = {
    "Connected": "Verbunden",
    "Offline": "Verbindung unterbrochen",
    "Needs attention": "Benötigt Ihre Aufmerksamkeit",
    "&Retry now": "&Verbindungsaufbau jetzt wiederholen",
    "&Pause sending": "&Übertragung unterbrechen",
    "{name} wants to report usage through this computer": (
        "{name} möchte Nutzungsdaten über diesen Rechner übermitteln"
    ),
    "&Allow": "&Übermittlung erlauben",
    "&Not now": "&Nicht jetzt entscheiden",
    "&Deny": "&Übermittlung verbieten",
    "&More": "&Weitere Möglichkeiten",
    "Events per minute": "Ereignisse je Minute (angenommen und zugestellt)",
    "accepted": "entgegengenommen",
    "delivered": "zugestellt",
    "Live events": "Laufende Ereignisse",
    "Live users": "Gleichzeitig angemeldete Benutzerinnen und Benutzer",
    "Live now": "Gerade angemeldet",
    "Events, 24 h": "Ereignisse der letzten vierundzwanzig Stunden",
    "App starts, 24 h": "Anwendungsstarts der letzten Stunden",
    "Errors, 24 h": "Fehlermeldungen, 24 Stunden",
    "{change} vs. yesterday": "{change} im Vergleich zum Vortag",
    "Outbox": "Postausgangswarteschlange",
    "Connection": "Verbindungseigenschaften",
    "This computer": "Eigenschaften dieses Rechners",
    "Last answer": "Letzte Empfangsbestätigung",
    "Its key is in": "Schlüsselaufbewahrungsort",
    "Upstream": "Gegenstellenadresse",
    "Reporting": "Übermittlungserlaubnis",
    "Delivered": "Zugestellt",
    "Accepted": "Entgegengenommen",
    "At this rate full in {time}.": "Bei gleichbleibender Geschwindigkeit voll in {time}.",
}
