"""Two collector processes on one ClickHouse, behind a client that takes them in turn.

What a balancer in front of several collectors needs: an event is stored once whoever took it, both
know who is live, a token that one revoked is refused by the other, limits hold for both together,
and a collector that is killed takes nothing with it (STORE.md: live truth, several processes).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from collectors import Collector, command, now_ms, until
from servers import ClickHouse

from collector.access.accounts import Accounts
from collector.store.clickhouse_address import PASSWORD

pytestmark = pytest.mark.system
Pair = tuple[Collector, Collector]


@pytest.fixture
def start(
    clickhouse: ClickHouse, database: str, tmp_path: Path
) -> Iterator[Callable[..., Collector]]:
    """Start collectors on one database; each has a folder of its own."""
    started: list[Collector] = []
    environment = os.environ | {PASSWORD: clickhouse.password}

    def make(*words: str, server: ClickHouse | None = None) -> Collector:
        there = (server or clickhouse).engine(database)
        env = environment if server is None else environment | {PASSWORD: server.password}
        folder = tmp_path / f"collector-{len(started)}"
        started.append(Collector(folder, "--engine", there, *words, env=env))
        return started[-1]

    yield make
    for far_end in started:
        far_end.kill()
        log = Path(far_end.log.name).read_text()
        assert "Traceback" not in log, log[-3000:]
        assert clickhouse.password not in log


@pytest.fixture
def pair(start: Callable[..., Collector]) -> Pair:
    one, other = start(), start()
    return one, other


def known_to_both(pair: Pair, *scopes: str) -> str:
    """Make app A on one; return its token once the other knows it too."""
    token = pair[0].app("A", *scopes)
    with contextlib.closing(Accounts(pair[1].folder.accounts)) as there:
        until(lambda: there.grant(token, now_ms()))
    assert status_of(pair[1], token) == 200
    return token


def status_of(far_end: Collector, token: str) -> int:
    path = "/api/v1/apps/A/live/users/count"
    return far_end.request("GET", path, headers={"Authorization": token})[0]


def events(count: int, prefix: str = "e") -> list[dict[str, Any]]:
    return [
        {
            "type": "event",
            "name": f"{prefix}{n}",
            "id": n,
            "date": "2026-11-20T10:00:00Z",
            "machineId": f"m{n % 7}",
            "userId": f"u{n % 5}",
        }
        for n in range(count)
    ]


def test_an_event_is_stored_once_whichever_collector_hears_it_how_often(pair: Pair) -> None:
    known_to_both(pair)
    dice = random.Random(1)
    mine = events(300)
    broken: list[object] = []

    def client(number: int) -> None:
        own = random.Random(number)
        with contextlib.ExitStack() as ends:
            sockets = [ends.enter_context(contextlib.closing(c.ws())) for c in pair]
            for turn in range(40):
                some = own.sample(mine, 20)
                sockets[turn % 2].send(json.dumps({"data": some}))
                said = json.loads(sockets[turn % 2].recv())
                if sorted(said["reportedIds"]) != sorted(e["id"] for e in some):
                    broken.append(said)

    clients = [threading.Thread(target=client, args=(dice.randrange(10**6),)) for _ in range(4)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(60)
    for far_end in pair:
        far_end.say({"data": mine})
    assert not broken
    for far_end in pair:
        stored = [row["name"] for row in far_end.export()]
        assert sorted(stored) == sorted(e["name"] for e in mine)
        assert far_end.status()["apps"] == {"A": 300}


def test_both_answer_alike_about_what_either_took(pair: Pair) -> None:
    token = known_to_both(pair)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for n, far_end in enumerate(pair):
        far_end.say({"data": [{"type": "init", "machineId": f"m{n}", "id": n, "date": now}]})
    said = [far_end.ask("/analytics/quickglance", token) for far_end in pair]
    assert said[0] == said[1]
    assert said[0]["appStarts"] == 2
    assert {row["machine_id"] for row in pair[0].ask("/live/events", token)} == {"m0", "m1"}


def test_who_is_live_on_either_is_counted_by_both_and_once(pair: Pair) -> None:
    token = known_to_both(pair)
    with contextlib.ExitStack() as ends:
        for n, far_end in enumerate(pair):
            for machine in (f"only-{n}", "both"):
                client = ends.enter_context(contextlib.closing(far_end.ws()))
                client.send(
                    json.dumps({"data": [{"type": "event", "name": "E", "machineId": machine}]})
                )
                client.recv()
        for far_end in pair:
            until(lambda far_end=far_end: far_end.ask("/live/users/count", token) == 3, 5)
            live = far_end.ask("/live/users", token)
            assert {user["deviceId"] for user in live} == {"only-0", "only-1", "both"}


def test_a_token_revoked_on_one_is_refused_by_the_other_within_two_seconds(pair: Pair) -> None:
    token = known_to_both(pair)
    assert status_of(pair[0], token) == 200
    done = pair[0].command("token", "revoke", token)
    assert done.returncode == 0, done.stderr
    revoked = time.monotonic()
    until(lambda: status_of(pair[1], token) == 401, 5)
    assert time.monotonic() - revoked < 2.0


def test_a_limit_holds_for_both_together(start: Callable[..., Collector]) -> None:
    words = ("--app-burst", "40", "--app-events-per-s", "0.01")
    pair = start(*words), start(*words)
    known_to_both(pair)
    time.sleep(1.5)  # until each has heard of the other
    taken = 0
    for turn in range(100):
        event = {"name": "E", "id": turn, "machineId": "m"}
        status, _, _ = pair[turn % 2].request("POST", "/app/A/track", {"data": [event]})
        assert status in {200, 429}
        taken += status == 200
    assert 30 <= taken <= 42


def test_a_collector_that_is_killed_takes_its_devices_and_nothing_else_with_it(
    pair: Pair,
) -> None:
    token = known_to_both(pair)
    one, other = pair
    mine = events(200)
    acknowledged: list[int] = []
    with contextlib.closing(one.ws()) as client:
        for at in range(0, 200, 10):
            client.send(json.dumps({"data": mine[at : at + 10]}))
            acknowledged += json.loads(client.recv())["reportedIds"]
            if at == 100:
                until(lambda: other.ask("/live/users/count", token) == 7, 5)
                one.process.kill()
                break
    assert len(acknowledged) == 110
    stored = {row["id"] for row in other.export()}
    assert set(acknowledged) <= stored
    other.say({"data": mine})
    assert sorted(row["id"] for row in other.export()) == list(range(200))
    until(lambda: other.ask("/live/users/count", token) == 0, 30)


def test_who_is_erased_on_one_does_not_come_back_through_the_other(pair: Pair) -> None:
    token = known_to_both(pair, "stats:read", "users:delete")
    mine = [
        {
            "type": "event",
            "name": "E",
            "id": n,
            "date": "2026-11-20T10:00:00Z",
            "deviceId": f"d-{user}",
            "userId": user,
        }
        for n, user in enumerate(["ann", "ann", "bob"])
    ]
    pair[0].say({"data": mine})
    path = "/api/v1/apps/A/users/ann"
    status, said, _ = pair[0].request("DELETE", path, headers={"Authorization": token})
    assert status == 204, said
    for far_end in pair:  # at once: the erasure waited until the other had heard of it
        assert far_end.say({"data": mine})["reportedIds"] == [0, 1, 2]
        assert [row["userId"] for row in far_end.export()] == ["bob"]


def test_a_killed_engine_costs_no_acknowledged_event_and_its_return_is_noticed(
    start: Callable[..., Collector], another_clickhouse: Callable[[], ClickHouse]
) -> None:
    server = another_clickhouse()
    pair = start(server=server), start(server=server)
    known_to_both(pair)
    mine = events(400)
    acknowledged: set[int] = set()
    refused = 0
    for turn, at in enumerate(range(0, 400, 10)):
        if turn == 15:
            server.kill()
        if turn == 20:
            server.start()
        body = {"data": mine[at : at + 10]}
        status, said, _ = pair[turn % 2].request("POST", "/app/A/track", body)
        assert status in {200, 503}, said
        if status == 200:
            acknowledged |= set(said["reportedIds"])
        refused += status == 503
    assert refused == 5
    assert len(acknowledged) == 350
    stored = [row["id"] for row in pair[1].export()]
    assert len(stored) == len(set(stored))
    assert acknowledged <= set(stored)


def test_without_its_server_a_collector_says_so(tmp_path: Path) -> None:
    done = command("serve", "--engine", "clickhouse://u@127.0.0.1:1/d", folder=tmp_path / "data")
    assert done.returncode == 1
    assert "ClickHouse does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    done = command("serve", "--engine", "clickhouse://u:hush@h/d", folder=tmp_path / "data")
    assert (done.returncode, "hush" in done.stderr) == (78, False)


def test_the_command_line_reaches_the_engine_with_a_server_and_without(
    start: Callable[..., Collector],
    clickhouse: ClickHouse,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = start()
    one.app("A")
    one.say({"data": events(30)})
    export = one.command("export", "A", "--output", str(tmp_path / "with.ndjson"))
    assert export.returncode == 0, export.stderr
    backup = one.command("backup", str(tmp_path / "backup.homing"))
    assert backup.returncode == 64, backup.stderr
    assert "ClickHouse makes its own" in backup.stderr
    assert one.stop() == 0
    setting = f'engine = "{clickhouse.engine(database)}"\n'
    (one.folder.path / "collector.toml").write_text(setting)
    monkeypatch.setenv(PASSWORD, clickhouse.password)
    export = one.command("export", "A", "--output", str(tmp_path / "without.ndjson"))
    assert export.returncode == 0, export.stderr
    texts = [(tmp_path / f"{name}.ndjson").read_text() for name in ("with", "without")]
    assert texts[0] == texts[1]
    assert texts[0].count("\n") == 30
