"""What may lie in the spool's folder, and what is believed of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spools import header, lines, put

from agent.adapters.records import aside, spool
from agent.adapters.records.spool import Reader
from tracking.events import Limits

HOUR_S = 3600.0


def read(path: Path, limits: Limits | None = None) -> tuple[Reader, list[int], list[int]]:
    """Read a file to its end: the reader, the numbers of its events, the sizes of its frames."""
    reader = Reader(path, limits or Limits())
    numbers, sizes = [], []
    while (frame := reader.next()) is not None:
        sizes.append(len(frame.events))
        numbers += [json.loads(event.payload or b"{}").get("n") for event in frame.events]
    return reader, numbers, sizes


def later() -> float:
    return time.time() + HOUR_S


def test_a_file_is_counted_and_read_in_frames(folder: Path) -> None:
    path = put(folder, header() + lines(range(1203)))
    survey = spool.survey(folder, later())
    assert survey == spool.Survey((spool.Found(path, "acme", 1203),))
    reader, numbers, sizes = read(path)
    assert numbers == list(range(1203))
    assert sizes == [500, 500, 203]
    assert (reader.aside.lines, reader.dropped) == (0, 0)


def test_large_events_make_smaller_frames(folder: Path) -> None:
    row = json.dumps({"id": "%d", "date": "2026", "name": "x", "payload": {"x": "x" * 30_000}})
    path = put(folder, header() + b"".join(row.encode() % n + b"\n" for n in range(30)))
    assert read(path)[2] == [9, 9, 9, 3]


def test_the_oldest_file_is_the_first(folder: Path) -> None:
    paths = [put(folder, header() + lines([n])) for n in range(3)]
    for age, path in enumerate(paths):
        os.utime(path, (1000 - age, 1000 - age))
    assert [found.path for found in spool.survey(folder, later()).files] == paths[::-1]


def test_a_torn_last_line_is_kept_aside_and_its_neighbours_are_read(folder: Path) -> None:
    path = put(folder, header() + lines(range(5)) + lines([5])[:-20])
    os.utime(path, (1000, 1000))
    reader, numbers, _ = read(path)
    assert numbers == list(range(5))
    ((number, why, size),) = reader.aside.kept
    assert why.startswith("torn")
    assert (number, size) == (7, len(lines([5])) - 20)
    assert spool.survey(folder, later()).files[0].events == 5


def test_a_line_that_is_torn_only_because_it_is_being_written_is_waited_for(folder: Path) -> None:
    whole = header() + lines(range(3))
    path = put(folder, whole[:-10])
    reader = Reader(path, Limits())
    frames = []
    os.utime(path)  # it was written just now, and a moment later it is

    class Slow(Reader):
        def _chunk(self, fd: int, *, in_line: bool) -> bytes:
            chunk = os.read(fd, 1000)
            if not chunk and in_line:
                with path.open("ab") as file:
                    file.write(whole[-10:])
                return super()._chunk(fd, in_line=in_line)
            return chunk

    reader = Slow(path, Limits())
    while (frame := reader.next()) is not None:
        frames.append(frame)
    assert sum(len(frame.events) for frame in frames) == 3
    assert reader.aside.lines == 0


def test_a_writer_that_went_on_after_a_torn_line_loses_that_line_only(folder: Path) -> None:
    path = put(folder, header() + lines([0]) + lines([1])[:-20] + b"\n" + lines([2]))
    reader, numbers, _ = read(path)
    assert numbers == [0, 2]
    assert reader.aside.lines == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"id":"a","name":"no date"}', "needs an id and a date"),
        (b'{"date":"2026","name":"no id"}', "needs an id and a date"),
        (b'{"id":"a","date":"2026","name":"x","payload":[1]}', "payload"),
        (b'{"id":"a","date":"2026","name":"x","payload":{"n":1e999}}', ""),
        (b"[1]", "no JSON object"),
        (b"x" * 100, "no JSON object"),
        (b'{"id":"a","date":"2026"}]},{"data":[{', "no JSON object"),
        (b"\xff\xfe", "no JSON object"),
        (b"[" * 60_000, "no JSON object"),
        (b"x" * 70_000, "70000 bytes"),
        (b"x" * 700_000, "without an end"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_a_line_that_is_no_event_goes_aside_with_the_reason(
    folder: Path, line: bytes, why: str
) -> None:
    path = put(folder, header() + lines([0]) + line + b"\n" + lines([1]))
    reader, numbers, _ = read(path)
    assert numbers == [0, 1]
    ((number, said, size),) = reader.aside.kept
    assert why in said
    assert (number, 0 < size <= len(line)) == (3, True)


@pytest.mark.parametrize(
    "line",
    [
        '{"id":"a","email":"%s"}',
        '{"id":"a","email":"%s"',
        '{"id":"a","date":"2026","name":"x","payload":"%s"}',
        '{"id":"a","date":"2026","name":"x","userId":["%s"]}',
        '{"id":"a","date":"2026","name":"x","payload":{"%s":1e999}}',
        '{"id":"a","date":"2026","name":"x","payload":{},"%s":1,"%s":2}',
    ],
)
def test_what_is_kept_aside_says_where_and_why_and_nothing_of_the_line(
    folder: Path, line: str
) -> None:
    """No rule of redaction has seen it (docs/redaction.md)."""
    secret = "canary@example.org"
    bad = line.replace("%s", secret).encode()
    path = put(folder, header() + lines([0]) + bad + b"\n" + lines([1]))
    reader, _, _ = read(path)
    kept = aside.keep(folder, path.name, reader.aside).read_text()
    told = [json.loads(row) for row in kept.splitlines()]
    assert [(row["line"], row["bytes"]) for row in told] == [(3, len(bad))]
    assert all(row["why"] for row in told)
    assert secret not in kept


def test_what_a_writer_dropped_is_summed_and_is_no_event(folder: Path) -> None:
    told = b'{"dropped":%d}\n'
    path = put(folder, header() + lines(range(2)) + told % 5 + lines([2]) + told % 7)
    assert spool.survey(folder, later()).files[0].events == 3
    reader, numbers, _ = read(path)
    assert (reader.dropped, reader.aside.lines) == (12, 0)
    assert numbers == [0, 1, 2]


def test_ever_so_many_bad_lines_are_kept_up_to_a_bound_and_counted_beyond(folder: Path) -> None:
    path = put(folder, header() + (b"x" * 100 + b"\n") * 3000)
    reader, _, _ = read(path)
    kept = aside.keep(folder, path.name, reader.aside)
    assert kept.stat().st_size < 300 * 1024
    assert kept.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(row) for row in kept.read_text().splitlines()]
    assert (rows[0]["line"], len(rows), rows[-1]) == (2, 1001, {"more": 2000})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no header\n", "header"),
        (b'{"spool":2,"appId":"acme"}\n', "version 1"),
        (b'{"spool":1}\n', "header"),
        (b'{"spool":1,"appId":"../../etc"}\n', "header"),
        (header("another"), "another app"),
        (header()[:-1], "header"),
        (b"x" * 100_000, "header"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_a_file_without_a_right_header_is_no_spool_file(
    folder: Path, content: bytes, why: str
) -> None:
    path = put(folder, content + lines([0]) if content.endswith(b"\n") else content)
    survey = spool.survey(folder, later())
    ((found, said),) = survey.unreadable
    assert (found, survey.files) == (path, ())
    assert why in said
    kept = aside.set_aside(folder, path)
    assert kept.parent == folder / "aside"
    assert spool.survey(folder, later()) == spool.Survey()


def test_a_file_that_somebody_just_began_is_left_to_them(folder: Path) -> None:
    begun = [put(folder, content) for content in (b"", header()[:10])]
    assert spool.survey(folder, time.time()) == spool.Survey()
    assert all(path.exists() for path in begun)
    survey = spool.survey(folder, later())
    assert not begun[0].exists(), "empty and forgotten"
    assert [path for path, _ in survey.unreadable] == [begun[1]]


def test_names_that_are_not_ours_are_not_looked_at(folder: Path) -> None:
    for name in ("notes.txt", ".abc.ndjson", "aside", "0" * 16 + "-short.ndjson"):
        (folder / name).write_bytes(header() + lines([0]))
    assert spool.survey(folder, later()) == spool.Survey()


@pytest.mark.parametrize("what", ["link", "hard link", "pipe", "folder", "writable"])
def test_what_is_no_plain_file_of_ours_is_left_alone(
    folder: Path, tmp_path: Path, what: str
) -> None:
    """Threat rows 3 and 31."""
    victim = tmp_path / "victim"
    victim.write_bytes(header() + lines([0]))
    path = put(folder, header() + lines([0]))
    match what:
        case "link":
            path.unlink()
            path.symlink_to(victim)
        case "hard link":
            path.unlink()
            path.hardlink_to(victim)
        case "pipe":
            path.unlink()
            os.mkfifo(path, 0o600)
        case "folder":
            path.unlink()
            path.mkdir()
        case "writable":
            path.chmod(0o622)
    survey = spool.survey(folder, later())
    assert [(found, survey.files) for found, _ in survey.strange] == [(path, ())]
    assert os.path.lexists(path)
    assert victim.read_bytes() == header() + lines([0])


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file to another user")
def test_a_file_of_another_user_is_left_alone(folder: Path) -> None:
    path = put(folder, header() + lines([0]))
    os.chown(path, 65534, 65534)
    ((found, why),) = spool.survey(folder, later()).strange
    assert (found, why) == (path, "it belongs to user 65534")


def test_one_that_others_may_read_is_closed_to_them(folder: Path) -> None:
    path = put(folder, header() + lines([0]))
    path.chmod(0o644)
    assert spool.survey(folder, later()).files
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_an_app_left_can_be_forgotten_all_of_it_and_nothing_else(folder: Path) -> None:
    put(folder, header() + lines(range(10)))
    bad = put(folder, header() + lines(range(10, 15)) + b"bad\n", taken=True)
    other = put(folder, header("other") + lines([0]), app_id="other")
    reader, _, _ = read(bad)
    aside.keep(folder, bad.name, reader.aside)
    (folder / f".{bad.name}").write_bytes(b"begun")
    assert spool.forget(folder, "acme") == (16, ()), "the bad line counts as one that was left"
    assert sorted(path.name for path in folder.rglob("*")) == sorted(["aside", other.name])


def test_what_cannot_be_deleted_is_told_and_keeps_no_other_file_here(folder: Path) -> None:
    own = spool.prefix("acme")
    (folder / f"{own}00000000.ndjson").mkdir()
    full = folder / f"{own}00000001.ndjson"
    (full / "inside").mkdir(parents=True)
    put(folder, header() + lines(range(3)))
    bad = put(folder, header() + b"bad\n")
    aside.set_aside(folder, bad)
    gone = spool.forget(folder, "acme")
    assert gone.events == 3
    (left,) = gone.left
    assert left.startswith(f"{full}: ")
    assert "Errno" not in left
    assert sorted(path.name for path in folder.rglob("*")) == sorted(["aside", full.name, "inside"])


def test_what_lies_aside_goes_after_a_month_and_the_oldest_of_too_much(folder: Path) -> None:
    kept = folder / "aside"
    kept.mkdir(mode=0o700)
    now_s = time.time()
    for name, age_days, size in (("old", 31, 10), ("new", 1, 5_000_000), ("older", 2, 5_000_000)):
        (kept / name).write_bytes(b"x" * size)
        os.utime(kept / name, (now_s - age_days * 86_400,) * 2)
    aside.prune(folder, now_s)
    assert [path.name for path in kept.iterdir()] == ["new"]


@given(st.binary(max_size=3000), st.integers(0, 20))
def test_whatever_bytes_there_are_nothing_is_raised_and_neighbours_are_read(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, count: int
) -> None:
    folder = tmp_path_factory.mktemp("spool", numbered=True)
    path = put(folder, header() + lines(range(count)) + noise + b"\n" + lines(range(50, 55)))
    os.utime(path, (1000, 1000))
    reader, numbers, _ = read(path)
    assert numbers[:count] == list(range(count))
    assert numbers[-5:] == list(range(50, 55))
    assert len(numbers) == count + 5 or reader.aside.lines or b'"id"' in noise
