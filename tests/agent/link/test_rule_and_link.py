"""The rule and the thread together, against far ends that misbehave as far ends do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from far_ends import Courier, FarEnd, RawFarEnd, frame, golden, upgrade
from websockets.sync.server import ServerConnection

from agent.rules.backoff import Backoff
from agent.rules.link import Slept, Start, State, Stop
from tracking.errors import Refused, Throttled

Couriers = Callable[..., Courier]
FarEnds = Callable[..., FarEnd]
RawFarEnds = Callable[..., RawFarEnd]


def ids_of(text: str | bytes) -> list[str]:
    return [event["id"] for event in json.loads(text)["data"] if "id" in event]


def test_everything_arrives_once_and_in_order(courier: Couriers, far_end: FarEnds) -> None:
    there = far_end()
    here = courier(there.url, events=237).start()
    here.run_until(lambda: not here.kept)
    assert there.ids() == [f"event-{n:04d}" for n in range(237)]
    assert here.settled == there.ids()
    assert here.rule.strangers == 0
    assert there.frames[0] == {"data": [{"type": "heartbeat"}]}


def test_a_far_end_that_knows_only_the_clients_path_is_found_and_remembered(
    courier: Couriers, far_end: FarEnds
) -> None:
    there = far_end(answers={"/acme/": 404})
    here = courier(there.url, events=3).start()
    here.run_until(lambda: not here.kept)
    assert here.dials == ["seed", "track"]
    assert here.remembered == ["track"]
    assert there.paths == ["/acme/", "/app/acme/track"]


def test_an_app_that_nobody_knows_is_parked_after_two_questions(
    courier: Couriers, far_end: FarEnds
) -> None:
    there = far_end(answers={"/acme/": 404, "/app/acme/track": 404})
    here = courier(there.url, events=3).start()
    here.run_until(lambda: here.rule.state is State.PARKED)
    assert len(there.paths) == 2
    assert isinstance(here.rule.reason, Refused)
    assert here.rule.deadline is not None
    assert here.rule.deadline - time.monotonic() > 890


def test_a_refused_key_is_parked_after_one_question(courier: Couriers, far_end: FarEnds) -> None:
    there = far_end(answers={"/acme/": 401})
    here = courier(there.url, events=3).start()
    here.run_until(lambda: here.rule.state is State.PARKED)
    assert there.paths == ["/acme/"]
    assert here.rule.deadline is not None
    assert here.rule.deadline > time.monotonic() + 3500


def test_a_far_end_that_is_busy_is_left_alone_for_as_long_as_it_says(
    courier: Couriers, far_end: FarEnds
) -> None:
    answers = {"/acme/": 429}
    there = far_end(answers=answers, extra={"Retry-After": "1"})
    here = courier(there.url, events=3).start()
    here.run_until(lambda: here.rule.state is State.WAITING)
    assert isinstance(here.rule.reason, Throttled)
    answers.clear()
    since = time.monotonic()
    here.feed(Start())
    here.run_until(lambda: not here.kept)
    assert time.monotonic() - since > 0.8


def test_a_far_end_that_closes_after_each_frame_still_gets_everything(
    courier: Couriers, far_end: FarEnds
) -> None:
    def curt(here: FarEnd, ws: ServerConnection) -> None:
        for text in ws:
            here.frames.append(json.loads(text))
            ws.send(json.dumps({"reportedIds": ids_of(text)}))
            if ids_of(text):
                return

    there = far_end(curt)
    here = courier(there.url, events=25, backoff=Backoff(base_s=0.01)).start()
    here.run_until(lambda: not here.kept)
    assert sorted(set(there.ids())) == [f"event-{n:04d}" for n in range(25)]
    assert sorted(here.settled) == sorted(set(here.settled))


def test_acknowledging_twice_and_what_was_never_sent_settles_nothing_more(
    courier: Couriers, far_end: FarEnds
) -> None:
    def generous(here: FarEnd, ws: ServerConnection) -> None:
        for text in ws:
            here.frames.append(json.loads(text))
            reply = json.dumps({"reportedIds": [*ids_of(text), "event-9999", 7, None, {}]})
            ws.send(reply)
            ws.send(reply)

    there = far_end(generous)
    here = courier(there.url, events=40).start()
    here.run_until(lambda: not here.kept and here.rule.strangers > 40)
    assert here.settled == [f"event-{n:04d}" for n in range(40)]


def test_acknowledgements_as_numbers_are_matched_as_text(
    courier: Couriers, far_end: FarEnds
) -> None:
    def numeric(here: FarEnd, ws: ServerConnection) -> None:
        for text in ws:
            ws.send(json.dumps({"reportedIds": [int(one) for one in ids_of(text)]}))

    here = courier(far_end(numeric).url, events=0)
    here.kept = [str(n) for n in range(100, 120)]
    here.start()
    here.run_until(lambda: not here.kept)
    assert len(here.settled) == 20


def test_partial_acknowledgements_are_honoured_and_the_rest_is_sent_again(
    courier: Couriers, far_end: FarEnds
) -> None:
    seen: list[str] = []

    def half(here: FarEnd, ws: ServerConnection) -> None:
        for text in ws:
            known = [one for one in ids_of(text) if one in seen or int(one[-1]) % 2]
            seen.extend(ids_of(text))
            ws.send(json.dumps({"reportedIds": known}))

    there = far_end(half)
    here = courier(there.url, events=10, ack_s=0.3, backoff=Backoff(base_s=0.01)).start()
    here.run_until(lambda: not here.kept)
    assert len(seen) == 15, "the odd ones once, the even ones twice"


def test_a_far_end_that_never_acknowledges_is_not_sent_the_same_again_and_again(
    courier: Couriers, far_end: FarEnds
) -> None:
    """C2: bounded, with the same ids, on a growing wait; and on the other form in between."""
    frames: list[list[str]] = []

    def mute(here: FarEnd, ws: ServerConnection) -> None:
        frames.extend(ids for ids in map(ids_of, ws) if ids)

    there = far_end(mute)
    here = courier(there.url, events=3, ack_s=0.2, backoff=Backoff(base_s=0.1))
    here.rule.rng = lambda: 1.0
    here.start()
    since = time.monotonic()
    here.run_until(lambda: len(frames) >= 4)
    assert time.monotonic() - since > 4 * 0.2 + 0.1 + 0.2 - 0.2
    assert all(ids == ["event-0000", "event-0001", "event-0002"] for ids in frames)
    assert set(here.dials) == {"seed", "track"}


def test_one_event_that_is_never_acknowledged_does_not_hold_up_the_others(
    courier: Couriers, far_end: FarEnds
) -> None:
    def picky(here: FarEnd, ws: ServerConnection) -> None:
        for text in ws:
            ids = [one for one in ids_of(text) if one != "event-0003"]
            ws.send(json.dumps({"reportedIds": ids}))

    here = courier(far_end(picky).url, events=100, ack_s=0.5).start()
    here.run_until(lambda: here.kept == ["event-0003"])
    assert here.dials == ["seed"]


def test_garbage_between_acknowledgements_is_ignored(
    courier: Couriers, raw_far_end: RawFarEnds
) -> None:
    def noisy(sock: socket.socket) -> None:
        upgrade(sock, frame(b"\xff\xfe\x00", 1) + frame(b"[[[[", 1) + frame(b'{"anonId":"me"}'))
        while sock.recv(65536):
            known = ",".join(f'"event-{n:04d}"' for n in range(5))
            sock.sendall(frame(b"}{") + frame(f'{{"reportedIds":[{known}]}}'.encode()))

    here = courier(raw_far_end(noisy).url, events=5).start()
    here.run_until(lambda: not here.kept)
    assert here.dials == ["seed"]


STOPPABLE = """
import sys
from websockets.sync.server import serve
with serve(lambda ws: [None for _ in ws] and None, "127.0.0.1", 0) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
"""


def test_a_far_end_that_is_frozen_is_noticed_by_its_silence(courier: Couriers) -> None:
    """Half open: the kernel still confirms every byte, but nobody answers."""
    server = subprocess.Popen([sys.executable, "-c", STOPPABLE], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"ws://127.0.0.1:{server.stdout.readline().strip()}"
        here = courier(url, heartbeat_s=0.3, answer_s=0.4).start()
        here.run_until(lambda: here.beats >= 3)
        assert here.dials == ["seed"], "alive as long as it answers"
        os.kill(server.pid, signal.SIGSTOP)
        since = time.monotonic()
        here.run_until(lambda: here.rule.state is State.WAITING)
        assert time.monotonic() - since < 1.5
        assert "sign of life" in str(here.rule.reason)
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


def test_pause_and_resume_leave_nothing_in_flight_and_lose_nothing(
    courier: Couriers, far_end: FarEnds
) -> None:
    there = far_end()
    here = courier(there.url, events=60).start()
    here.run_until(lambda: len(here.settled) >= 5)
    here.feed(Stop())
    assert here.rule.in_flight == 0
    here.offer(10)
    here.feed(Start())
    here.run_until(lambda: not here.kept)
    assert sorted(here.settled) == [f"event-{n:04d}" for n in range(70)]


def test_after_sleep_a_new_connection_one_heartbeat_and_the_rest(
    courier: Couriers, far_end: FarEnds
) -> None:
    there = far_end()
    here = courier(there.url).start()
    here.run_until(lambda: here.rule.state is State.LIVE)
    here.feed(Slept(3600.0))
    here.offer(7)
    here.run_until(lambda: not here.kept)
    assert len(here.dials) == 2
    assert here.beats == 2
    assert here.rule.reason is None


def test_a_far_end_that_comes_back_is_found_again(courier: Couriers, far_end: FarEnds) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    here = courier(f"ws://127.0.0.1:{port}", events=5, backoff=Backoff(base_s=0.05))
    here.rule.rng = lambda: 1.0
    here.start()
    here.run_until(lambda: len(here.dials) >= 3)
    there = far_end(golden)
    here.endpoint = there.url
    here.run_until(lambda: not here.kept)
    assert there.ids() == [f"event-{n:04d}" for n in range(5)]
