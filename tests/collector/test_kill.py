"""An acknowledged event is there, once, whatever happens to the process (S4, S33; threat 54)."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import websocket
from collectors import DAY, Collector, now_ms

pytestmark = pytest.mark.timeout(240)
Run = Callable[..., Collector]
ROUNDS = 20


class Sender(threading.Thread):
    """Keeps events until they are acknowledged, as an SDK does; an oracle that forgets nothing."""

    def __init__(self, number: int, far_end: Collector, queue: list[dict[str, Any]]) -> None:
        super().__init__(name=f"sender {number}")
        self.far_end = far_end
        self.queue = queue
        self.acknowledged: list[str] = []
        self.reached = threading.Event()
        self.socket: websocket.WebSocket | None = None

    def run(self) -> None:
        gone = (OSError, websocket.WebSocketException, json.JSONDecodeError)
        with contextlib.suppress(*gone):
            self.socket = self.far_end.ws()
            while self.queue:
                batch = self.queue[:50]
                self.socket.send(json.dumps({"data": batch}))
                ids = set(json.loads(self.socket.recv())["reportedIds"])
                self.acknowledged += ids
                self.queue[:] = [e for e in self.queue if e["id"] not in ids]
                self.reached.set()


def test_s33_twenty_kills_lose_nothing_and_double_nothing(run: Run) -> None:
    dice = random.Random(33)
    started = now_ms()
    queues: list[list[dict[str, Any]]] = [[], [], []]
    made: dict[str, dict[str, Any]] = {}
    acknowledged: list[str] = []
    serial = 0
    for _ in range(ROUNDS):
        far_end = run()
        far_end.app("A")
        for number, queue in enumerate(queues):
            for _ in range(600):
                serial += 1
                late = dice.choice([0, 0, 0, dice.randint(3, 50) * DAY])
                event = {
                    "type": dice.choice(["init", "event", "error"]),
                    "name": "E",
                    "id": f"{serial}",
                    "date": started - late - dice.randint(0, 10_000),
                    "deviceId": f"d{number}",
                    "sessionId": number,
                    "payload": {"n": serial, "text": "x" * dice.randint(0, 100)},
                }
                queue.append(event)
                made[event["id"]] = event
            # What was acknowledged may be sent again: a repeat is acknowledged and stored once.
            queue += [made[i] for i in dice.sample(acknowledged, min(20, len(acknowledged)))]
            dice.shuffle(queue)
        senders = [Sender(n, far_end, queue) for n, queue in enumerate(queues)]
        for sender in senders:
            sender.start()
        for sender in senders:
            assert sender.reached.wait(20)
        time.sleep(dice.uniform(0, 0.08))  # not a wait: the moment of death is the dice's
        far_end.kill()
        for sender in senders:
            sender.join(20)
            acknowledged += sender.acknowledged
    last = run()
    stored = {e["id"]: e for e in last.export()}
    counts = Counter(e["id"] for e in last.export())
    assert set(acknowledged) <= set(stored)
    assert max(counts.values()) == 1
    assert len(set(acknowledged)) > ROUNDS * 100
    assert all(stored[i]["payload"] == made[i]["payload"] for i in stored)
    # Everything again, acknowledged or not: all of it is taken, nothing of it twice.
    everything = list(made.values())
    for at in range(0, len(everything), 5000):
        part = everything[at : at + 5000]
        assert last.say({"data": part})["reportedIds"] == [e["id"] for e in part]
    counts = Counter(e["id"] for e in last.export())
    assert set(counts) == set(made)
    assert max(counts.values()) == 1
    assert last.stop() == 0


def test_s33_a_kill_directly_after_the_reply_leaves_the_event(run: Run) -> None:
    for n in range(5):
        far_end = run()
        far_end.app("A")
        assert far_end.say({"data": [{"name": "E", "id": n, "machineId": "m"}]})
        far_end.kill()
    assert [e["id"] for e in run().export()] == [0, 1, 2, 3, 4]


def test_s4_late_events_are_stored_once_across_restarts(run: Run) -> None:
    late = [
        {"name": "E", "id": days, "date": now_ms() - days * DAY, "machineId": "m"}
        for days in range(3, 51)
    ]
    undated = [{"name": "E", "id": "undated", "machineId": "m"}]
    ancient = [{"name": "E", "id": "ancient", "date": 1, "machineId": "m"}]
    frame = {"data": late + undated + ancient}
    for restart in (True, False, True):
        far_end = run()
        far_end.app("A")
        for _ in range(2):
            assert len(far_end.say(frame)["reportedIds"]) == 50
        (far_end.kill if restart else far_end.stop)()
    stored = [e["id"] for e in run().export()]
    assert stored == [e["id"] for e in frame["data"]]


def test_a_drain_leaves_nothing_acknowledged_behind(run: Run) -> None:
    queue = [{"name": "E", "id": f"{n}", "date": now_ms(), "deviceId": "d"} for n in range(200_000)]
    far_end = run()
    far_end.app("A")
    sender = Sender(0, far_end, queue)
    sender.start()
    assert sender.reached.wait(20)
    assert far_end.stop() == 0
    sender.join(20)
    counts = Counter(e["id"] for e in run().export())
    assert set(sender.acknowledged) <= set(counts)
    assert max(counts.values()) == 1
