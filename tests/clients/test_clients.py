"""Both clients against an agent: what they promise, in the order in which they promise it.

An agent in this process, programs in processes of their own; whatever needs an agent that is
killed or held is in ``test_killed.py``.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import WIDE_MS, Here, Program, once, steps

from agent.adapters.machine.places import Places
from agent.host import Agent
from benchmarks.processes import declared, until

Start = Callable[..., Program]


def spool_files(folder: Path) -> list[Path]:
    spool = folder / "state" / "spool"
    return sorted(path for path in spool.iterdir() if path.is_file()) if spool.exists() else []


def balanced(stats: dict[str, int]) -> bool:
    ends = ("acknowledged", "spooled", "refused", "dropped", "queued")
    return stats["tracked"] == sum(stats[name] for name in ends)


def test_everything_arrives_once_in_order_and_says_what_it_should(
    here: Here, program: Start
) -> None:
    here.start()
    one = program()
    one.do("identify", user="ada")
    assert one.do("track", count=1200)["p99_ms"] < WIDE_MS
    one.do("props", props={"plan": "pro"})
    one.do("props", props={"seats": 3})
    one.do("error")
    assert one.do("flush", s=10) is True
    stored = here.stored()
    assert steps(stored) == once((0, 1200))
    assert [e["payload"]["n"] for e in stored if e["type"] == "event"] == list(range(1200))
    assert [e["type"] for e in stored if e["type"] != "event"] == [
        "userid",
        "props",
        "props",
        "error",
    ]
    assert {e["userId"] for e in stored} == {"ada"}
    assert stored[-2]["payload"] == {"plan": "pro", "seats": 3}
    error = stored[-1]
    assert error["payload"]["message"] == "that went wrong"
    assert error["payload"]["where"] == "here"
    assert "drive_" in error["payload"]["stack"]
    one.do("error", long=100_000)
    assert one.do("flush", s=10) is True
    assert here.stored()[-1]["payload"]["message"].startswith("that went wrong and on and on")
    stats = one.do("stats")
    assert stats["acknowledged"] == stats["tracked"] == 1205
    assert stats["connections"] == 1
    assert spool_files(here.folder) == []


def test_one_event_and_then_silence_arrives_by_itself(here: Here, program: Start) -> None:
    here.start()
    one = program()
    one.do("track", count=1)
    assert steps(here.wait_for(1, 3)) == once((0, 1))


def test_without_an_agent_events_wait_in_the_spool_and_are_taken_in_once(
    here: Here, program: Start
) -> None:
    one = program()
    assert one.do("track", count=700)["p99_ms"] < WIDE_MS
    assert one.do("flush", s=5) is True
    stats = one.do("stats")
    assert (stats["spooled"], stats["queued"]) == (700, 0)
    (file,) = spool_files(here.folder)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    here.start()
    assert steps(here.wait_for(700)) == once((0, 700))
    until(lambda: spool_files(here.folder) == [], 5, "the file is still there")
    one.do("track", count=50, by=1)
    assert one.do("flush", s=5) is True
    assert steps(here.wait_for(750)) == once((0, 700), (1, 50))


def test_what_the_spool_has_and_the_socket_brings_again_is_stored_once(
    here: Here, program: Start, tmp_path: Path
) -> None:
    one = program()
    one.do("track", count=20)
    one.do("flush", s=5)
    (file,) = spool_files(here.folder)
    kept = file.read_bytes()
    here.start()
    here.wait_for(20)
    until(lambda: spool_files(here.folder) == [], 5, "the file is still there")
    again = tmp_path / "again"
    again.write_bytes(kept)
    again.chmod(0o600)
    again.rename(file)
    until(lambda: spool_files(here.folder) == [], 5, "the file is still there")
    assert steps(here.stored()) == once((0, 20))
    assert here.door.status().apps[0].repeats == 20


@pytest.mark.parametrize("way", ["end", "exit", "throw"])
@pytest.mark.parametrize("running", [True, False], ids=["agent", "no agent"])
def test_a_program_that_ends_right_after_tracking_loses_nothing(
    here: Here, program: Start, way: str, running: bool
) -> None:
    if running:
        here.start()
    one = program()
    one.begin("track", count=300)
    if way != "end":
        one.begin(way)
    began = time.monotonic()
    assert one.end() == (1 if way == "throw" else 0)
    assert time.monotonic() - began < 8, "the end of a program waits 2 s at most"
    if not running:
        here.start()
    assert steps(here.wait_for(300)) == once((0, 300))


def test_what_cannot_be_json_is_refused_counted_and_raises_nothing(
    here: Here, program: Start
) -> None:
    here.start()
    one = program()
    one.do("odd")
    one.do("identify", user=None)
    one.do("track", count=3)
    assert one.do("flush", s=5) is True
    stats = one.do("stats")
    assert balanced(stats)
    assert stats["refused"] >= 10
    assert stats["acknowledged"] - 3 <= 2, "an error without its payload, and props"
    assert stats["tracked"] - stats["refused"] == stats["acknowledged"]
    assert steps(here.stored()) == once((0, 3))
    assert one.do("told"), "it was told to the debug function"


def test_ten_programs_at_once_each_arrive_once(here: Here, program: Start) -> None:
    programs = [program() for _ in range(10)]
    for number, one in enumerate(programs):
        one.begin("track", count=200, by=number, pause_s=0.005)
    time.sleep(0.2)
    here.start()  # while they report: some of it is in ten files, some comes over the socket
    for one in programs:
        one.answer()
        assert one.do("flush", s=10) is True
        assert balanced(one.do("stats"))
    expected = once(*((number, 200) for number in range(10)))
    assert steps(here.wait_for(2000)) == expected


def test_it_finds_an_agent_that_was_away(here: Here, program: Start) -> None:
    here.start()
    one = program()
    one.do("track", count=5)
    assert one.do("flush", s=5) is True
    here.stop()
    one.do("track", count=5, by=1)
    assert one.do("flush", s=5) is True
    here.start()
    count = 0
    while one.do("stats")["connections"] < 2:  # it waits 1 s at most before it dials again
        one.do("track", count=1, **{"from": count}, by=2)
        assert one.do("flush", s=5) is True
        count += 1
    assert steps(here.wait_for(10 + count)) == once((0, 5), (1, 5), (2, count))
    assert balanced(one.do("stats"))


def test_a_connection_that_was_closed_in_silence_is_no_reason_to_wait(
    here: Here, program: Start
) -> None:
    here.start()
    one = program()
    one.do("track", count=5)
    assert one.do("flush", s=5) is True
    here.stop()
    here.start()
    one.do("track", count=5, by=1)
    assert one.do("flush", s=5) is True
    stats = one.do("stats")
    assert (stats["acknowledged"], stats["connections"], stats["spooled"]) == (10, 2, 0)


def test_over_its_quota_it_waits_and_loses_nothing(
    here: Here, program: Start, expected_warnings: Callable[..., None]
) -> None:
    here.start("[limits]\nevents_per_s = 100\nburst = 50\n" + declared("bench"))
    one = program()
    for part in range(2):
        one.do("track", count=80, by=part)
        time.sleep(0.02)
    assert one.do("flush", s=15) is True
    stats = one.do("stats")
    assert (stats["acknowledged"], stats["spooled"], stats["dropped"]) == (160, 0, 0)
    assert any("quota" in sentence for sentence in one.do("told"))
    assert steps(here.stored()) == once((0, 80), (1, 80))


def test_an_app_id_that_no_agent_would_take_is_refused_at_once(here: Here, program: Start) -> None:
    """Threat row 33: it names no file either."""
    one = program(APP_ID="../../bench")
    one.do("track", count=3)
    assert one.do("flush", s=1) is True
    assert one.do("stats")["refused"] == 3
    assert not (here.folder / "state").exists()


def test_files_that_are_taken_while_they_are_written_lose_nothing(
    here: Here, program: Start
) -> None:
    """By one who takes what he sees without waiting for its end, which the format allows."""
    taken: list[bytes] = []
    done = threading.Event()

    def take() -> None:
        spool = here.folder / "state" / "spool"
        while not done.is_set():
            for path in spool_files(here.folder):
                mine = path.rename(spool.parent / path.name)
                taken.append(mine.read_bytes())
                mine.unlink()

    taker = threading.Thread(target=take)
    taker.start()
    one = program()
    one.do("track", count=1000, pause_s=0.002)
    assert one.do("flush", s=10) is True
    stats = one.do("stats")
    assert stats["spooled"] == 1000
    done.set()
    taker.join()
    taken += [path.read_bytes() for path in spool_files(here.folder)]
    whole = [line for file in taken for line in file.splitlines(True) if line.endswith(b"\n")]
    found = [json.loads(line) for line in whole]  # a file may be taken in the midst of a write
    by_id = {event["id"]: event for event in found if "id" in event}
    assert steps(list(by_id.values())) == once((0, 1000))
    assert all(b'{"spool":1,'.startswith(file[:11]) for file in taken)


@pytest.mark.parametrize("case", ["runtime", "loose", "state", "long"])
def test_it_looks_for_the_agent_where_the_agent_is(
    folder: Path,
    program: Start,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
    expected_warnings: Callable[..., None],
) -> None:
    expected_warnings("agent.secrets")
    runtime, state = folder / "run", folder / "state"
    runtime.mkdir(mode=0o755 if case == "loose" else 0o700)
    env = {"HOMING_HOME": "", "XDG_STATE_HOME": str(state), "XDG_CONFIG_HOME": str(folder / "c")}
    env["XDG_DATA_HOME"] = str(folder / "d")
    env["XDG_RUNTIME_DIR"] = "" if case == "state" else str(runtime)
    if case == "long":
        env["HOMING_HOME"] = str(folder / ("a long name " * 9))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    config = Places.find(env).config
    config.mkdir(mode=0o700, parents=True)
    (config / "homing.toml").write_text(declared("bench"))
    agent = Agent(env)
    agent.start()
    try:
        expected = {"runtime": runtime / "homing", "long": runtime / "homing"}
        assert agent.places.socket.parent == expected.get(case, state / "homing")
        one = program(**env)
        one.do("track", count=3)
        assert one.do("flush", s=5) is True
        assert one.do("stats")["acknowledged"] == 3
    finally:
        agent.stop()
    one.do("track", count=3)
    assert one.do("flush", s=5) is True
    assert len(list(agent.places.spool.glob("*.ndjson"))) == 1


def test_it_speaks_to_an_agent_on_loopback(here: Here, program: Start) -> None:
    here.start('[ipc]\ntransport = "loopback"\n' + declared("bench"))
    one = program()
    one.do("track", count=10)
    assert one.do("flush", s=5) is True
    assert one.do("stats")["acknowledged"] == 10


def test_an_app_that_nobody_allowed_yet_waits_in_the_spool(here: Here, program: Start) -> None:
    here.start(declared("another"))
    one = program()
    one.do("track", count=214)
    assert one.do("flush", s=5) is True
    assert one.do("stats")["spooled"] == 214
    said = "bench left 214 events while no agent ran; they wait until you allow it"
    until(lambda: here.notices().get("spool.pending.bench") == said, 5, "the status does not say")
    here.stop()
    here.start(declared("bench"))
    assert steps(here.wait_for(214)) == once((0, 214))
    assert "spool.pending.bench" not in here.notices()


def test_do_not_track_leaves_nothing_anywhere(here: Here, program: Start) -> None:
    one = program(DO_NOT_TRACK="1")
    one.do("track", count=10)
    assert one.do("flush", s=1) is True
    assert one.do("stats")["tracked"] == 0
    assert one.end() == 0
    assert not (here.folder / "state").exists()


def test_memory_is_bounded_and_every_drop_is_counted(here: Here, program: Start) -> None:
    (here.folder / "state").write_text("a file where a folder should be: there is no spool")
    one = program()
    one.do("track", count=12_000)
    stats = one.do("stats")
    assert balanced(stats)
    assert (stats["queued"], stats["dropped"]) == (10_000, 2_000)
    one.do("track", count=1000, pad=30_000)
    assert one.do("stats")["queued"] == 10_000
    one.do("close")
    stats = one.do("stats")
    assert (stats["queued"], stats["dropped"]) == (0, 13_000)


def test_a_full_spool_takes_no_more_and_says_how_many_it_missed(
    here: Here, program: Start, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.spool")
    one = program()
    for part in range(4):
        one.do("track", count=100, by=part, pad=30_000)
        assert one.do("flush", s=10) is True
    stats = one.do("stats")
    assert balanced(stats)
    assert stats["spooled"] + stats["dropped"] == 400
    assert 270 < stats["spooled"] < 285
    assert sum(path.stat().st_size for path in spool_files(here.folder)) < 8 * 1024 * 1024 + 1000
    one.end()
    here.start()
    here.wait_for(stats["spooled"])
    dropped = f"bench dropped {stats['dropped']} events while no agent ran: its spool was full"
    until(lambda: here.notices().get("spool.dropped.bench") == dropped, 5, "nobody is told")


@pytest.mark.skipif(os.getuid() != 0, reason="a file is given to another user")
@pytest.mark.parametrize("what", ["run/agent.sock", "run"])
def test_nothing_is_said_to_a_socket_of_another_user(here: Here, program: Start, what: str) -> None:
    """Threat row 8."""
    here.start()
    os.chown(here.folder / what, 65534, 65534)
    one = program()
    one.do("track", count=3)
    assert one.do("flush", s=3) is True
    stats = one.do("stats")
    assert (stats["connections"], stats["spooled"]) == (0, 3)
    os.chown(here.folder / what, 0, 0)


@pytest.mark.parametrize("fault", ["open to others", "link", "file"])
def test_nothing_is_written_into_a_folder_that_is_not_ours_alone(
    here: Here, program: Start, fault: str, tmp_path: Path
) -> None:
    spool = here.folder / "state" / "spool"
    spool.parent.mkdir(mode=0o700)
    match fault:
        case "open to others":
            spool.mkdir()
            spool.chmod(0o755)
        case "link":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            spool.symlink_to(tmp_path / "elsewhere")
        case "file":
            spool.write_text("")
    one = program()
    one.do("track", count=3)
    assert one.do("flush", s=0.3) is False
    stats = one.do("stats")
    assert (stats["spooled"], stats["queued"]) == (0, 3)
    if fault != "file":
        assert list(spool.iterdir()) == []
