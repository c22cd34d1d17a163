"""The demo goes on: some of its people are here now, over real WebSockets, until somebody stops it.

Each is one conversation as the official client for Node.js has it: an `init`, events one by one,
a heartbeat a minute, and an end. Everything waits for its acknowledgement; what goes wrong with one
conversation ends that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from collector.demo.people import Person
from collector.demo.words import ERRORS, FEATURES
from tracking.dates import iso
from tracking.nucleus import Outgoing, encode_event, heartbeat, parse_reply, wrap

VERSION: Final = "2.4.0"
HEARTBEAT_S: Final = 60.0
ANSWER_S: Final = 20.0
MOST_HERE: Final = 60


@dataclass(slots=True)
class Trickle:
    """How it goes.

    Attributes:
        here: Open conversations.
        acknowledged: Events that the server has stored.
        failed: Conversations that ended otherwise than they meant to.

    """

    here: int = 0
    acknowledged: int = 0
    failed: int = 0


async def trickle(
    url: str,
    people: list[Person],
    rate: float,
    stop: asyncio.Event,
    seen: Callable[[Trickle], None],
) -> Trickle:
    """Send events until ``stop``.

    Args:
        url: Of the app: ``ws://127.0.0.1:7780/app/demo/track``.
        people: Who may come.
        rate: Events a second, all together, on average.
        stop: Set when it is to end.
        seen: Told every half second how it goes.

    """
    chance = random.Random()  # noqa: S311 - a story, not a secret
    so_far = Trickle()
    here = max(1, min(MOST_HERE, len(people), round(rate * 6)))
    pause_s = here / rate
    async with asyncio.TaskGroup() as group:
        guests = [
            group.create_task(_guest(url, people, pause_s, chance, so_far)) for _ in range(here)
        ]
        while not stop.is_set():
            seen(so_far)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
        for guest in guests:
            guest.cancel()
    return so_far


async def _guest(
    url: str, people: list[Person], pause_s: float, chance: random.Random, so_far: Trickle
) -> None:
    """Be one person after the other."""
    while True:
        await asyncio.sleep(chance.uniform(0, min(pause_s, 5)))
        person = chance.choice(people)
        try:
            async with connect(url, open_timeout=ANSWER_S, close_timeout=1) as socket:
                so_far.here += 1
                try:
                    await _conversation(socket, person, pause_s, chance, so_far)
                finally:
                    so_far.here -= 1
        except (OSError, TimeoutError, WebSocketException):
            so_far.failed += 1
            await asyncio.sleep(chance.uniform(0.5, 3))  # not all at once


async def _conversation(
    socket: ClientConnection,
    person: Person,
    pause_s: float,
    chance: random.Random,
    so_far: Trickle,
) -> None:
    session = chance.randrange(1000, 1_000_000)
    mac = person.device_id
    await _say(socket, person, session, "init", None, {"plan": "free"}, so_far, chance)
    beat_s = time.monotonic() + HEARTBEAT_S
    for _ in range(chance.randrange(3, 20)):
        wait_s = min(chance.expovariate(1 / pause_s), 60)
        while wait_s > 0:
            await asyncio.sleep(min(wait_s, max(0.0, beat_s - time.monotonic())))
            wait_s -= HEARTBEAT_S
            if time.monotonic() >= beat_s:
                await socket.send(heartbeat(mac, mac, session).decode())
                beat_s += HEARTBEAT_S
        if chance.random() < 0.01:
            name, make = chance.choice(ERRORS)
            kind = "error"
        else:
            name, make = chance.choices(FEATURES, [f[2] for f in FEATURES])[0][:2]
            kind = "event"
        payload = make(chance)
        members = {} if payload is None else msgspec.json.decode(payload)
        await _say(socket, person, session, kind, name, members, so_far, chance)


async def _say(
    socket: ClientConnection,
    person: Person,
    session: int,
    type_: str,
    name: str | None,
    payload: dict[str, object],
    so_far: Trickle,
    chance: random.Random,
) -> None:
    """Send one event and wait until it is stored."""
    id_ = f"{chance.getrandbits(60):015x}"
    event = Outgoing(
        type=type_,
        name=name,
        id=id_,
        date=iso(time.time_ns() // 1_000_000),
        session_id=session,
        anon_id=person.anon_id,
        device_id=person.device_id,
        machine_id=person.device_id,
        user_id=person.user_id or None,
        client="nodejs",
        module_version="4.1.0",
        platform=person.platform,
        os_version=person.os_version,
        total_ram=person.ram,
        version=VERSION,
        language=person.language,
        arch=person.arch,
        payload=msgspec.Raw(msgspec.json.encode(payload)) if payload else None,
    )
    await socket.send(wrap([encode_event(event)]).decode())
    async with asyncio.timeout(ANSWER_S):
        while id_ not in parse_reply(await socket.recv()).ids:
            pass  # the answer to a heartbeat
    so_far.acknowledged += 1
