"""The system says when a file of a folder was finished, and nothing else wakes the agent."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from spools import on_a_loop

from agent.adapters.machine import folder_watch
from agent.adapters.machine.folder_watch import FolderWatch, open_watch


@on_a_loop
async def test_a_file_that_was_closed_or_renamed_is_told_by_name_and_no_other(
    folder: Path,
) -> None:
    told: list[str] = []
    watch = FolderWatch(asyncio.get_running_loop(), told.extend, open_watch(folder))
    assert watch.watching
    with (folder / "written").open("w") as file:
        file.write("x")
        file.flush()
        await asyncio.sleep(0.05)
        assert told == [], "it is still being written"
    (folder / ".beside").touch()
    (folder / ".beside").rename(folder / "renamed")
    (folder / "written").read_text()
    (folder / "written").unlink()
    (folder / "inner").mkdir()
    await asyncio.sleep(0.05)
    assert told == ["written", ".beside", "renamed"]
    watch.close()
    watch.close()
    (folder / "late").touch()
    await asyncio.sleep(0.05)
    assert "late" not in told
    assert not watch.watching


def test_names_are_read_one_after_the_other_and_too_many_are_none() -> None:
    def news(mask: int, name: bytes) -> bytes:
        return struct.pack("iIII", 1, mask, 0, len(name)) + name

    both = news(folder_watch.IN_MOVED_TO, b"a\0\0\0") + news(folder_watch.IN_CLOSE_WRITE, b"bc\0\0")
    assert folder_watch._names(both) == ["a", "bc"]
    assert folder_watch._names(both + news(folder_watch.IN_Q_OVERFLOW, b"")) == []


def test_where_there_is_no_such_thing_nothing_is_watched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_watch(folder / "not there") is None
    monkeypatch.setattr("sys.platform", "darwin")
    assert open_watch(folder) is None
