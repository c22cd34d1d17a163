"""A core takes in what apps left: once, fairly, and only of those who may."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cores import Clocks, Running, running, short_folder, started, until
from spools import header, lines, on_a_loop, put

from agent.adapters.records import spool
from agent.door.apps import AllowApp, DenyApp, PauseApp, ResumeApp
from agent.rules.quota import Bucket
from agent.runtime.counter import spooling
from tracking.errors import DiskFull

NOWHERE = "ws://127.0.0.1:9"


@pytest.fixture
def home(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets")
    with short_folder() as path:
        (path / "state").mkdir(mode=0o700)
        (path / "state" / "spool").mkdir(mode=0o700)
        yield path


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "state" / "spool"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def stored(one: Running, app_id: str = "acme") -> Counter[int]:
    bodies = [json.loads(row.body) for row in one.core.outbox.export(app_id)]
    return Counter(body["payload"]["n"] for body in bodies if body.get("name") == "step")


def notices(one: Running) -> dict[str, str]:
    return {code: notice.text for code, notice in one.core.board.notices.items()}


async def quiet(one: Running) -> None:
    """Return when the spool has been looked through."""
    await until(lambda: one.core.spooling._task is None)


@on_a_loop
async def test_what_was_left_is_taken_in_at_the_start_in_order(home: Path, folder: Path) -> None:
    put(folder, header() + lines(range(1200)))
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: left(folder) == [])
        bodies = [json.loads(row.body) for row in one.core.outbox.export("acme")]
        assert bodies[0]["type"] == "init"
        assert [body["payload"]["n"] for body in bodies[1:]] == list(range(1200))
        assert {body["date"] for body in bodies[1:]} == {"2026-11-21T01:34:28.124Z"}
        said = "1,200 events that acme left while no agent ran were taken in"
        assert notices(one)["spool.taken.acme"] == said


@on_a_loop
async def test_a_file_that_is_finished_while_the_agent_runs_is_taken_in_at_once(
    home: Path, folder: Path
) -> None:
    async with running(home, acme=NOWHERE) as one:
        await quiet(one)
        put(folder, header() + lines(range(10)))
        await until(lambda: sum(stored(one).values()) == 10, 2)
        name = folder / f"{spool.prefix('acme')}0123456789abcdef.ndjson"
        with os.fdopen(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(header() + lines(range(10, 20)))
            file.flush()
            await asyncio.sleep(0.2)
            assert left(folder) == [name.name], "one that is still open is left to its writer"
        await until(lambda: stored(one) == Counter(range(20)), 2)
        await until(lambda: left(folder) == [])


@on_a_loop
async def test_an_idle_spool_wakes_nobody(home: Path, folder: Path) -> None:
    async with running(home, acme=NOWHERE) as one:
        put(folder, header() + lines(range(10)))
        await until(lambda: left(folder) == [])
        await quiet(one)
        assert one.core.spooling._timer is None


@on_a_loop
async def test_where_nobody_tells_of_changes_an_app_that_connects_is_reason_to_look(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "open_watch", lambda _folder: None)
    async with running(home, acme=NOWHERE) as one:
        await quiet(one)
        one.core.spooling.knocked()
        await quiet(one)
        put(folder, header() + lines(range(10)))
        await asyncio.sleep(0.1)
        assert len(left(folder)) == 1
        one.core.spooling.knocked()
        await until(lambda: stored(one) == Counter(range(10)), 2)


@on_a_loop
async def test_a_file_that_was_in_the_middle_is_read_again_and_stored_once(
    home: Path, folder: Path
) -> None:
    content = header() + lines(range(700))
    put(folder, content)
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: left(folder) == [])
    put(folder, content, taken=True)
    put(folder, header() + lines(range(650, 750)))
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: left(folder) == [])
        assert stored(one) == Counter(range(750))
        assert one.core.desks["acme"].repeats == 750
        assert notices(one)["spool.taken.acme"].startswith("50 events that acme left")
        assert one.account().accepted == 751


@on_a_loop
async def test_a_stop_in_the_middle_leaves_the_rest_to_the_next_start(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, header() + lines(range(5000)))
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: one.account().accepted > 500)
    assert [name[-6:] for name in left(folder)] == [".taken"]
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: left(folder) == [])
        assert stored(one) == Counter(range(5000))


@on_a_loop
async def test_of_an_app_that_nobody_allowed_nothing_is_taken_until_somebody_does(
    home: Path, folder: Path
) -> None:
    put(folder, header("stranger") + lines(range(200)), app_id="stranger")
    put(folder, header("stranger") + lines(range(200, 214)), app_id="stranger")
    async with running(home, acme=NOWHERE) as one:
        said = "stranger left 214 events while no agent ran; they wait until you allow it"
        await until(lambda: notices(one).get("spool.pending.stranger") == said)
        assert len(left(folder)) == 2
        assert not any(name.endswith(".taken") for name in left(folder))
        for path in folder.iterdir():
            path.unlink()
        one.core.spooling.look()
        await until(lambda: "spool.pending.stranger" not in notices(one))
    put(folder, header("stranger") + lines(range(214)), app_id="stranger")
    async with running(home, acme=NOWHERE, stranger=NOWHERE) as one:
        await until(lambda: left(folder) == [])
        assert stored(one, "stranger") == Counter(range(214))
        assert stored(one) == Counter()


@on_a_loop
async def test_a_person_who_allows_an_app_has_what_it_left_taken_in(
    home: Path, folder: Path
) -> None:
    put(folder, header("stranger") + lines(range(214)), app_id="stranger")
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: "spool.pending.stranger" in notices(one))
        for _ in range(3):
            one.core.spooling.look()
            await quiet(one)
        knocker = one.core.consents.knocks.by_app["stranger"]
        assert (knocker.offered, set(knocker.by)) == (214, {"spool"}), "each event knocks once"
        await one.controls.ask(AllowApp(app_id="stranger"))
        await until(lambda: left(folder) == [])
        assert stored(one, "stranger") == Counter(range(214))
        assert "spool.pending.stranger" not in notices(one)


@on_a_loop
async def test_what_a_denied_app_left_is_deleted_and_counted(home: Path, folder: Path) -> None:
    put(folder, header("stranger") + lines(range(214)), app_id="stranger")
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: "spool.pending.stranger" in notices(one))
        await one.controls.ask(DenyApp(app_id="stranger"))
        await until(lambda: left(folder) == [])
        await until(lambda: "spool.pending.stranger" not in notices(one))
        said = "214 events that stranger left were deleted: it may not report"
        await until(lambda: notices(one).get("spool.denied.stranger") == said)
        put(folder, header("stranger") + lines(range(10)), app_id="stranger")
        await until(lambda: left(folder) == [])
        assert stored(one, "stranger") == Counter()


@on_a_loop
async def test_what_a_paused_app_leaves_is_deleted_until_the_pause_is_over(
    home: Path, folder: Path
) -> None:
    async with running(home, acme=NOWHERE) as one:
        await one.controls.ask(PauseApp(app_id="acme", reason="a talk"))
        put(folder, header() + lines(range(5)))
        await until(lambda: left(folder) == [])
        assert one.core.desks["acme"].dropped == 5
        await one.controls.ask(ResumeApp(app_id="acme"))
        put(folder, header() + lines(range(5, 8)))
        await until(lambda: left(folder) == [])
        assert stored(one) == Counter(range(5, 8))


@on_a_loop
async def test_a_policy_that_denies_every_app_deletes_what_any_left(
    home: Path, folder: Path
) -> None:
    put(folder, header() + lines(range(3)))
    put(folder, header("stranger") + lines(range(4)), app_id="stranger")
    settings = '[consent]\nall = "deny"\n[[apps]]\nid = "acme"\nname = "Acme"\n'
    async with started(home, settings) as one:
        await until(lambda: left(folder) == [])
        assert stored(one) == Counter()


@on_a_loop
async def test_lines_that_are_no_events_and_drops_are_told_and_the_rest_is_taken(
    home: Path, folder: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.spool")
    torn = lines([3])[:-9]
    path = put(folder, header() + lines(range(3)) + b'{"id":1}\n{"dropped":12}\n' + torn)
    os.utime(path, (1000, 1000))
    stranger = put(folder, b"something else\n")
    os.utime(stranger, (1000, 1000))
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: left(folder) == [])
        await quiet(one)
        assert stored(one) == Counter(range(3))
        aside = folder / "aside"
        assert notices(one)["spool.aside.acme"] == (
            "2 lines that acme left are no events (an event needs an id and a date of its own"
            f" here): see {aside / path.name}"
        )
        rows = [json.loads(row) for row in (aside / path.name).read_text().splitlines()]
        assert [(row["line"], row["bytes"]) for row in rows] == [(5, 8), (7, len(torn))]
        assert notices(one)["spool.dropped.acme"] == (
            "acme dropped 12 events while no agent ran: its spool was full"
        )
        assert f"spool.unreadable.{stranger.name}" in notices(one)
        assert (aside / stranger.name).read_bytes() == b"something else\n"
        assert one.core.desks["acme"].refused == 2


@on_a_loop
async def test_files_that_are_not_to_be_touched_are_told(
    home: Path, folder: Path, tmp_path: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.spool")
    (tmp_path / "elsewhere").write_bytes(header() + lines([0]))
    link = folder / f"{spool.prefix('acme')}0123456789abcdef.ndjson"
    link.symlink_to(tmp_path / "elsewhere")
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: f"spool.strange.{link.name}" in notices(one))
        assert notices(one)[f"spool.strange.{link.name}"] == f"{link} was left alone: it is a link"
        assert link.is_symlink()
        assert stored(one) == Counter()


@on_a_loop
async def test_a_denial_takes_back_what_was_said_of_the_files_that_it_deleted(
    home: Path, folder: Path, tmp_path: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.spool")
    link = folder / f"{spool.prefix('acme')}0123456789abcdef.ndjson"
    link.symlink_to(tmp_path / "elsewhere")
    os.utime(put(folder, b"something else\n"), (1000, 1000))
    put(folder, header() + b"{}\n" + lines([0]))
    async with running(home, acme=NOWHERE) as one:
        said = "1 line that acme left is no event"
        await until(lambda: notices(one).get("spool.aside.acme", "").startswith(said))
        assert notices(one)["spool.taken.acme"].startswith("1 event that acme left")
        assert sum(code.startswith(("spool.strange", "spool.unread")) for code in notices(one)) == 2
        await one.controls.ask(DenyApp(app_id="acme"))
        told = {code for code in notices(one) if code.startswith("spool.")}
        assert told <= {"spool.denied.acme", "spool.taken.acme"}


@on_a_loop
async def test_a_strange_file_is_spoken_of_until_somebody_takes_it_away(
    home: Path, folder: Path, tmp_path: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.spool")
    link = folder / f"{spool.prefix('acme')}0123456789abcdef.ndjson"
    link.symlink_to(tmp_path / "elsewhere")
    async with running(home, acme=NOWHERE) as one:
        await until(lambda: f"spool.strange.{link.name}" in notices(one))
        link.unlink()
        one.core.spooling.look()
        await until(lambda: f"spool.strange.{link.name}" not in notices(one))


@on_a_loop
async def test_a_folder_that_cannot_be_used_stops_nobody(home: Path, folder: Path) -> None:
    folder.rmdir()
    folder.write_text("a file")
    async with running(home, acme=NOWHERE) as one:
        assert "apps cannot leave events" in notices(one)["spool"]
        one.core.spooling.look()
        one.core.spooling.knocked()
        await one.report("live")


@on_a_loop
async def test_the_import_has_a_quota_of_its_own_and_takes_none_from_the_live_events(
    home: Path, folder: Path
) -> None:
    """Threat row 28: neither starves the other."""
    async with running(home, acme=NOWHERE) as one:
        await quiet(one)
        desk = one.core.desks["acme"]
        desk.bucket = Bucket(rate_per_s=1000, burst=10)
        one.core.spooling._new_bucket = lambda: Bucket(rate_per_s=4000, burst=500)
        began = time.monotonic()
        put(folder, header() + lines(range(2000)))
        for _ in range(5):
            await one.report("live")  # a frame over quota would fail it
            await asyncio.sleep(0.02)
        await until(lambda: left(folder) == [])
        took_s = time.monotonic() - began
        assert took_s > 0.3, "1500 events more than the burst, at 4000 a second"
        assert stored(one) == Counter(range(2000))
        assert desk.bucket._tokens > 0
        desk.bucket = Bucket(rate_per_s=0.001, burst=1)
        desk.bucket.take(1, one.core.means.mono_s())
        put(folder, header() + lines(range(2000, 2100)))
        await until(lambda: left(folder) == [])
        assert stored(one) == Counter(range(2100))


@on_a_loop
async def test_one_apps_heap_does_not_hold_up_anothers(home: Path, folder: Path) -> None:
    put(folder, header() + lines(range(20_000)))
    put(folder, header("other") + lines(range(100)), app_id="other")
    async with running(home, acme=NOWHERE, other=NOWHERE) as one:
        await until(lambda: stored(one, "other") == Counter(range(100)))
        assert one.account().accepted < 15_000


@on_a_loop
async def test_a_disk_without_room_is_tried_again_and_the_file_stays(
    home: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected_warnings: Callable[..., None],
) -> None:
    expected_warnings("agent.spool", "agent.core")
    monkeypatch.setattr(spooling, "AGAIN_S", 0.1)
    async with running(home, acme=NOWHERE) as one:
        await quiet(one)
        await one.report("first")
        full = True
        append = one.core.outbox.append

        def refuse(*words: Any) -> None:
            if full:
                raise DiskFull("no room")
            append(*words)

        monkeypatch.setattr(one.core.outbox, "append", refuse)
        put(folder, header() + lines(range(10)))
        await until(lambda: "spool.later" in notices(one))
        assert len(left(folder)) == 1
        full = False
        await until(lambda: stored(one) == Counter(range(10)))
        await until(lambda: left(folder) == [])
        await until(lambda: "spool.later" not in notices(one))


@on_a_loop
async def test_events_of_long_ago_begin_a_session_of_now_and_keep_their_dates(
    home: Path, folder: Path
) -> None:
    clocks = Clocks(wall_ahead_s=20 * 86_400)
    put(folder, header() + lines(range(3)))
    async with running(home, clocks, acme=NOWHERE) as one:
        await until(lambda: left(folder) == [])
        bodies = [json.loads(row.body) for row in one.core.outbox.export("acme")]
        assert {body["date"] for body in bodies} == {"2026-11-21T01:34:28.124Z"}
        assert len({body["sessionId"] for body in bodies}) == 1
