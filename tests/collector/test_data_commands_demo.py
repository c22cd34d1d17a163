"""demo: made up, believable, the same for the same seed, and gone in one command."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from collectors import NOW, PROGRAM, Collector, command, now_ms, until

from collector.access.accounts import Accounts
from collector.bulk.dropping import drop
from collector.demo.making import story
from collector.demo.people import DAY, weekday_of
from collector.demo.record import Plan
from collector.places import Folder
from collector.store.duck import DuckStore
from collector.store.interface import TABLES, Seen, Stored
from tracking.errors import StorageFault

Run = Callable[..., Collector]
SMALL = ("--days", "12", "--users", "150")


@pytest.fixture(scope="module")
def told() -> list[Stored]:
    """Ninety days of a smaller crowd."""
    plan = Plan(app_id="demo", days=90, users=1_200, seed=1, end_ms=NOW)
    return [row for day in story(plan) for row in day.rows]


def test_the_same_seed_tells_the_same_story_and_another_one_another() -> None:
    def tell(seed: int) -> list[object]:
        plan = Plan(app_id="demo", days=12, users=60, seed=seed, end_ms=NOW)
        return [(day.rows, day.facts) for day in story(plan)]

    assert tell(1) == tell(1)
    assert tell(1) != tell(2)


def test_nothing_is_later_than_now_or_before_the_first_day(told: list[Stored]) -> None:
    plan = Plan(app_id="demo", days=90, users=300, seed=3, end_ms=NOW)
    assert all(plan.start_ms <= row.ts <= row.recv_ts < NOW for row in told)
    for day in story(plan):
        for fact in day.facts:
            if isinstance(fact, Seen):
                assert max(fact.first_ts, fact.last_ts) < NOW
    assert len({(row.key_a, row.key_b) for row in told}) == len(told)


def test_a_person_would_believe_the_curves(told: list[Stored]) -> None:
    days: defaultdict[int, set[str]] = defaultdict(set)
    first: dict[str, int] = {}
    names: Counter[str] = Counter()
    for row in told:
        day = row.ts // DAY
        if row.device_id:
            days[day].add(row.device_id)
            first.setdefault(row.device_id, day)
        names[row.name] += row.kind == "event"
    last = NOW // DAY
    crowd = {day: len(who) for day, who in days.items()}
    early = sum(crowd[last - n] for n in range(70, 84))
    late = sum(crowd[last - n] for n in range(1, 15))
    assert late > 3 * early, "it grows"
    week = [day for day in crowd if last - 42 <= day < last]
    weekend = [crowd[day] for day in week if weekday_of(day * DAY) >= 5]
    workdays = [crowd[day] for day in week if weekday_of(day * DAY) < 5]
    ratio = (sum(weekend) / len(weekend)) / (sum(workdays) / len(workdays))
    assert 0.25 < ratio < 0.7, "fewer at the weekend"

    def back(after: int) -> float:
        could = [who for who, day in first.items() if day + after + 6 < last]
        came = [w for w in could if any(w in days[first[w] + after + n] for n in range(7))]
        return len(came) / len(could)

    assert 0.75 > back(1) > back(8) > back(29) > 0.08, "some stay, fewer and fewer"
    steps = ["onboarding.started", "account.created", "onboarding.finished"]
    steps += ["upgrade.viewed", "checkout.started", "payment.succeeded"]
    counts = [names[step] for step in steps]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 1.3 * counts[2] > 4 * counts[3] > 0
    assert counts[-1] > 0


def test_a_bad_release_shows_and_is_put_right(told: list[Stored]) -> None:
    errors = Counter(row.version for row in told if row.kind == "error")
    starts = Counter(row.version for row in told if row.kind == "init")
    assert set(starts) == {"2.0.0", "2.1.0", "2.2.0", "2.3.0", "2.3.1", "2.4.0"}
    rates = {version: errors[version] / starts[version] for version in starts}
    assert rates["2.3.0"] > 0.2
    assert all(rate < 0.04 for version, rate in rates.items() if version != "2.3.0")
    lately = Counter(row.version for row in told if row.kind == "init" and row.ts > NOW - 5 * DAY)
    assert lately.most_common(1)[0][0] == "2.4.0"
    assert lately["2.2.0"] > 0, "some never update"


@pytest.mark.parametrize("serving", [False, True])
def test_a_demo_is_marked_can_be_asked_and_goes_in_one_command(
    run: Run, tmp_path: Path, serving: bool
) -> None:
    folder = Folder(tmp_path / "data").prepare().path
    if serving:
        run(folder=folder)
    done = command("demo", *SMALL, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["events"] > 1_000
    (listed,) = [json.loads(x) for x in command("app", "list", folder=folder).stdout.splitlines()]
    assert (listed["appId"], listed["demo"]) == ("demo", "made up")
    again = command("demo", folder=folder)
    assert again.returncode == 64
    assert "--remove" in again.stderr

    far_end = run(folder=folder) if not serving else None
    if far_end is not None:
        glance = far_end.ask("/analytics/quickglance", made["token"], "demo")
        assert glance["users"] > 0
        assert glance["appStarts"] >= glance["users"]
        span = f"start={now_ms() - 12 * DAY}&end={now_ms()}"
        steps = "steps=account.created,note.created"
        way = far_end.ask(f"/funnel?{span}&{steps}", made["token"], "demo")
        created, noted = (one["count"] for one in way)
        assert created > noted > 0.5 * created, "most who make an account write something"
        assert far_end.stop() == 0
    gone = command("demo", "--remove", "--json", folder=folder)
    assert json.loads(gone.stdout) == {"appId": "demo", "removed": made["events"]}
    assert command("app", "list", folder=folder).stdout == ""
    assert command("token", "list", folder=folder).stdout == ""
    if not serving:
        with contextlib.closing(DuckStore(folder / "events.duckdb", NOW)) as store:
            for table in TABLES.values():
                assert store.ask(f"SELECT count(*) FROM {table}", {}) == [(0,)], table


def test_an_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data").prepare()
    words = [*PROGRAM, "demo", "--users", "20000", "--data-dir", str(folder.path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with contextlib.closing(Accounts(folder.accounts)) as accounts:
        until(accounts.apps, 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Traceback" not in out + err
        assert accounts.apps() == []


def test_live_people_come_over_real_websockets_until_ctrl_c(run: Run, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data").prepare().path
    alone = command("demo", *SMALL, "--live", folder=folder)
    assert alone.returncode == 69
    assert "serve" in alone.stderr
    far_end = run(folder=folder)
    words = [*PROGRAM, "demo", *SMALL, "--live", "--rate", "20", "--data-dir", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: "demo" in far_end.status()["apps"], 60)
        with contextlib.closing(Accounts(far_end.folder.accounts)) as accounts:
            token = accounts.add_token("demo", ["admin"], NOW)
        until(lambda: far_end.ask("/live/users/count", token, "demo") >= 5, 60)
        rows = until(lambda: far_end.ask("/live/events", token, "demo"), 60)
        assert {row["app_id"] for row in rows} == {"demo"}
        assert far_end.command("compact").returncode == 0, "the trickle holds nobody up"
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "events were acknowledged" in out.splitlines()[-1]
    assert not out.splitlines()[-1].startswith("0 ")


def test_who_still_reports_to_a_removed_app_is_not_heard(run: Run, tmp_path: Path) -> None:
    far_end = run()
    folder = far_end.folder.path
    assert command("demo", *SMALL, folder=folder).returncode == 0
    client = far_end.ws("/app/demo/track")
    client.send(json.dumps({"data": [{"name": "E", "id": 1, "machineId": "m"}]}))
    assert json.loads(client.recv())["reportedIds"] == [1]
    assert command("demo", "--remove", folder=folder).returncode == 0
    client.send(json.dumps({"data": [{"name": "E", "id": 2, "machineId": "m"}]}))
    assert json.loads(client.recv())["reportedIds"] == [], "its sender keeps it"
    far_end.app("demo")
    assert far_end.export("demo") == []


def test_a_demo_on_a_full_disk_leaves_no_row_and_the_next_one_works(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data").prepare().path
    words = [*PROGRAM, "demo", "--days", "60", "--users", "3000", "--data-dir", str(folder)]

    def no_file_beyond() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))

    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=False, preexec_fn=no_file_beyond
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert command("app", "list", folder=folder).stdout == ""
    with contextlib.closing(DuckStore(folder / "events.duckdb", NOW)) as store:
        for table in TABLES.values():
            assert store.ask(f"SELECT count(*) FROM {table}", {}) == [(0,)], table
    assert command("demo", "--days", "3", "--users", "5", folder=folder).returncode == 0


def test_an_app_whose_rows_cannot_be_removed_is_still_there_to_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "data").prepare()
    made = command("demo", "--days", "3", "--users", "5", "--json", folder=folder.path)
    events = json.loads(made.stdout)["events"]

    def full(store: DuckStore, app_id: str) -> None:
        raise StorageFault("the disk is full")

    with (
        contextlib.closing(DuckStore(folder.events, NOW)) as store,
        contextlib.closing(Accounts(folder.accounts)) as accounts,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(DuckStore, "drop_app", full)
            with pytest.raises(StorageFault):
                drop(accounts, store, "demo")
        (app,) = accounts.apps()
        assert (app.app_id, app.demo) == ("demo", 1)
    gone = command("demo", "--remove", "--json", folder=folder.path)
    assert json.loads(gone.stdout)["removed"] == events
    assert command("app", "list", folder=folder.path).stdout == ""
