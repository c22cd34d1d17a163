"""A pause ends by the clock on the wall."""

from __future__ import annotations

import asyncio
from datetime import UTC
from pathlib import Path
from typing import cast

import pytest

from agent.runtime import halting
from agent.runtime.halting import Halting
from agent.runtime.report import Board
from agent.runtime.ways.departures import Departures


class Ways:
    """Ways out that only say what they were told."""

    def __init__(self) -> None:
        self.open = True

    def halt(self) -> None:
        self.open = False

    def go_on(self) -> None:
        self.open = True


def test_a_pause_that_ended_while_the_machine_slept_is_over_soon_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halting, "LOOK_S", 0.02, raising=False)
    board = Board(
        version="",
        pid=1,
        started_ms=0,
        address="",
        settings_file="",
        max_events=1,
        max_bytes=1,
        zone=UTC,
    )
    ways, now_ms = Ways(), [1_795_225_137_848]

    async def sleep_through_it() -> None:
        halted = Halting(
            tmp_path / "pause.json",
            board,
            cast(Departures, ways),
            wall_ms=lambda: now_ms[0],
            note=lambda *_: None,
        )
        halted.pause(3600, "a talk")
        await asyncio.sleep(0.1)
        assert not ways.open
        now_ms[0] += 8 * 3_600_000  # the machine slept; the loop's clock did not move
        async with asyncio.timeout(5):
            while not ways.open:
                await asyncio.sleep(0.01)

    asyncio.run(sleep_through_it())
    assert board.pause is None
