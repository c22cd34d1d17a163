"""retention, compact, export: what is kept, how small, and in which form it goes out."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from collectors import DAY, PROGRAM, Collector, command, now_ms, row

from collector.access.accounts import Accounts
from collector.places import Folder
from collector.store.duck import DuckStore
from collector.store.interface import Attribute, Beat, Feedback, Membership, Seen
from tracking.dates import iso

Run = Callable[..., Collector]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with an app of 100 days, ten events a day, and what Bucket told."""
    folder = Folder(tmp_path / "data").prepare()
    now = now_ms()
    with contextlib.closing(Accounts(folder.accounts)) as accounts:
        accounts.add_app("A", now, app_id="A")
    rows = [
        row(
            event_id=str(day * 10 + n),
            user_id="u" if n else "",
            ts=now - day * DAY - n - 60_000,
            recv_ts=now - day * DAY - 30_000,
            payload='{"a": "ü\\n", "b": [1]}' if n % 2 else "",
        )
        for day in reversed(range(100))
        for n in range(10)
    ]
    facts = [
        Seen("A", "user", "u", now - DAY, now),
        Seen("A", "company", "c", now - DAY, now - 5),
        Attribute("A", "user", "u", "plan", '"free"', now - 9, now - 9),
        Attribute("A", "user", "u", "plan", '"pro"', now - 5, now - 5),
        Attribute("A", "user", "u", "seats", "2.5", now - 7, now - 5),
        Attribute("A", "company", "c", "name", '"Acme"', now - 5, now - 5),
        Membership("A", "u", "c", now - 5, now - 5),
        Feedback("A", "f", "search", "u", "c", 2.0, "slow", "", "", "", now - 9, now - 9, "{}"),
        Feedback("A", "f", "search", "u", "c", 5.0, "fast", "w", "", "", now - 5, now - 5, "{}"),
        Beat("A", "d", "s", "u", now // 1_800_000 * 1_800_000, now),
    ]
    with contextlib.closing(DuckStore(folder.events, now)) as store:
        store.write(rows, facts)
    return folder.path


def said(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = command(*words, "--json", folder=folder)
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("serving", [False, True])
def test_retention_is_said_shown_and_done(run: Run, kept: Path, serving: bool) -> None:
    if serving:
        run(folder=kept)
    assert said(kept, "retention", "A") == {
        "appId": "A",
        "days": None,
        "source": "of the settings",
    }
    dry = said(kept, "retention", "A", "--days", "30", "--dry-run")
    assert dry["older"] == 700
    assert said(kept, "retention", "A")["days"] is None, "a dry run changes nothing"
    assert said(kept, "retention", "A", "--days", "30")["days"] == 30
    assert said(kept, "retention", "A")["source"] == "of the app"
    if not serving:  # a server does it by itself, within seconds
        assert len(command("export", "A", folder=kept).stdout.splitlines()) == 1_000
    done = said(kept, "retention", "A", "--now")
    assert done["removed"] >= done["older"]
    assert done["older"] in ({0, 700} if serving else {700})
    left = [json.loads(line) for line in command("export", "A", folder=kept).stdout.splitlines()]
    assert len(left) == 300
    assert min(line["receivedAt"] for line in left) >= done["before"]
    assert said(kept, "retention", "A", "--now")["older"] == 0
    assert said(kept, "retention", "A", "--days", "forever")["days"] is None
    assert "for ever (of the app)" in command("retention", "A", folder=kept).stdout
    assert said(kept, "retention", "A", "--days", "default")["source"] == "of the settings"


def test_retention_follows_the_settings_where_the_app_says_nothing(kept: Path) -> None:
    (kept / "collector.toml").write_text("retention_days = 50\n")
    assert said(kept, "retention", "A", "--dry-run")["older"] == 500
    assert "50 days (of the settings)" in command("retention", "A", folder=kept).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("retention", "nobody"),
        ("retention", "A", "--days", "0"),
        ("retention", "A", "--days", "soon"),
        ("export", "A", "--format", "parquet"),
        ("export", "A", "--format", "parquet", "--what", "all", "--output", "x.parquet"),
        ("export", "A", "--json"),
        ("export", "A", "--since", "yesterday"),
        ("export", "A", "--what", "users", "--since", "2026-01-01"),
        ("demo", "--app", "A"),
        ("demo", "--app", "A", "--remove"),
        ("demo", "--remove"),
        ("demo", "--days", "0"),
    ],
)
def test_what_makes_no_sense_is_refused_politely(kept: Path, words: tuple[str, ...]) -> None:
    done = command(*words, folder=kept)
    assert done.returncode == 64
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.parametrize("serving", [False, True])
def test_compacting_gives_room_back(run: Run, kept: Path, serving: bool) -> None:
    now = now_ms()
    with contextlib.closing(DuckStore(kept / "events.duckdb", now)) as store:
        many = [
            row(app_id="B", event_id=str(n), payload=json.dumps({"x": f"{n * 7919:x}" * 20}))
            for n in range(20_000)
        ]
        store.write(many)
        store.checkpoint()
        store.purge("B", now + DAY)
    far_end = run(folder=kept) if serving else None
    done = said(kept, "compact")
    assert done["after"] < done["before"] / 2
    assert len(command("export", "A", folder=kept).stdout.splitlines()) == 1_000
    if far_end is not None:
        assert far_end.say({"data": [{"name": "E", "id": 1, "machineId": "m"}]})["reportedIds"]
        assert len(far_end.export()) == 1_001
    assert re.fullmatch(
        r"[\d.,]+ MB before, [\d.,]+ MB after\.\n", command("compact", folder=kept).stdout
    )


def test_an_export_takes_the_days_that_are_wanted(kept: Path) -> None:
    now = now_ms()
    since, until = iso(now - 20 * DAY), iso(now - 10 * DAY)
    done = command("export", "A", "--since", since, "--until", until, folder=kept)
    dates = [json.loads(line)["date"] for line in done.stdout.splitlines()]
    assert len(dates) == 100
    assert all(since <= date < until for date in dates)


@pytest.mark.parametrize("serving", [False, True])
def test_parquet_has_what_ndjson_has(run: Run, kept: Path, tmp_path: Path, serving: bool) -> None:
    if serving:
        run(folder=kept)
    lines, file = tmp_path / "it's.ndjson", tmp_path / "it's.parquet"
    for form, path in (("ndjson", lines), ("parquet", file)):
        words = ("export", "A", "--format", form, "--output", str(path))
        assert said(kept, *words)["exported"] == {"events": 1_000}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert command(*words, folder=kept).returncode == 64, "it exists"
        assert command(*words, "--force", folder=kept).returncode == 0
    with contextlib.closing(duckdb.connect()) as db:
        found = db.execute(
            "SELECT type, name, id, user_id, device_id, epoch_ms(date), epoch_ms(received_at),"
            " payload FROM read_parquet($1)",
            [str(file)],
        ).fetchall()
    told = []
    for line in lines.read_text().splitlines():
        e = json.loads(line)
        payload = '{"a": "ü\\n", "b": [1]}' if "payload" in e else None
        assert e.get("payload") in (None, {"a": "ü\n", "b": [1]})
        told.append(
            (
                *(e["type"], e["name"], json.dumps(e["id"]), e.get("userId"), e["deviceId"]),
                *(e["date"], e["receivedAt"], payload),
            )
        )
    assert [(*f[:5], iso(f[5]), iso(f[6]), f[7]) for f in found] == told
    assert sorted(p.name for p in tmp_path.iterdir() if "it" in p.name) == [
        "it's.ndjson",
        "it's.parquet",
    ]


def test_people_firms_and_opinions_go_out_and_come_back(kept: Path, tmp_path: Path) -> None:
    def everything(folder: Path) -> str:
        done = command("export", "A", "--what", "all", folder=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = everything(kept)
    user, firm, opinion, stay = [
        json.loads(line) for line in first.splitlines() if line.startswith('{"fact"')
    ]
    assert user["attributes"] == {"plan": "pro", "seats": 2.5}
    assert list(user["companies"]) == ["c"]
    assert firm["attributes"] == {"name": "Acme"}
    assert (opinion["score"], opinion["comment"]) == (5.0, "fast")
    assert (stay["deviceId"], stay["sessionId"], stay["userId"]) == ("d", "s", "u")

    file = tmp_path / "all.ndjson"
    file.write_text(first)
    other = Folder(tmp_path / "other").prepare()
    with contextlib.closing(Accounts(other.accounts)) as accounts:
        accounts.add_app("A", 1, app_id="A")
    assert said(other.path, "import", str(file))["imported"] == 1_000
    assert everything(other.path) == first
    assert said(other.path, "import", str(file))["imported"] == 0
    assert everything(other.path) == first
    for what in ("users", "companies", "feedback", "stays"):
        out = tmp_path / f"{what}.parquet"
        words = ("export", "A", "--what", what, "--format", "parquet", "--output", str(out))
        assert said(kept, *words)["exported"] == {what: 1}
        with contextlib.closing(duckdb.connect()) as db:
            (count,) = db.execute("SELECT count(*) FROM read_parquet($1)", [str(out)]).fetchone()  # type: ignore[misc]
        assert count == 1


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_a_full_disk_leaves_no_half_export(kept: Path, tmp_path: Path, form: str) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))

    out = tmp_path / "out"
    words = [*PROGRAM, "export", "A", "--format", form, "--output", str(out)]
    server = Collector(kept)  # the disk of the export is full, not the store's
    try:
        done = subprocess.run(
            [*words, "--data-dir", str(kept)],
            preexec_fn=small,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        server.kill()
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".out*"))
