"""The keeper of the far end on this computer outlives whatever that one does."""

from __future__ import annotations

import queue
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.adapters.machine.private_files import write_private
from agent.runtime import keeper
from agent.runtime.keeper import APP_ID, Keeper, KeeperNews, Kept

ENDS = "import sys; sys.exit(3)"
HANGS = "import time; time.sleep(60)"
LEAVES_A_MARK = """
    import pathlib, sys
    pathlib.Path({mark!r}).open("a").write(sys.argv[1] + "\\n")
    if sys.argv[1] == "app":
        import time; time.sleep(1)
    print("{{}}", flush=True)
"""


@pytest.fixture
def make_keeper(
    tmp_path: Path, expected_warnings: Callable[..., None]
) -> Callable[..., tuple[Keeper, queue.Queue[KeeperNews | BaseException]]]:
    """Build a keeper of a program; everything that it says is in the queue."""
    expected_warnings("agent.keeper")
    record = tmp_path / "far-end.json"
    write_private(record, msgspec.json.encode(Kept(app_id=APP_ID, token="t")))

    def make(program: str, *apps: tuple[str, str]) -> tuple[Keeper, queue.Queue[object]]:
        said: queue.Queue[object] = queue.Queue()
        return Keeper(
            tmp_path / "collector",
            record,
            apps,
            said.put,
            died=said.put,
            log_file=tmp_path / "collector.log",
            command=(sys.executable, "-c", textwrap.dedent(program)),
        ), said

    return make  # type: ignore[return-value]


def test_it_goes_on_after_more_deaths_than_a_float_can_count(
    make_keeper: Callable[..., tuple[Keeper, queue.Queue[object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lives = iter(range(1100))
    kept, said = make_keeper(ENDS)

    def life() -> str:
        if next(lives, None) is None:
            kept._stop.set()
        return "it ended"

    monkeypatch.setattr(kept, "_one_life", life)
    waits: list[float] = []
    monkeypatch.setattr(kept._stop, "wait", waits.append)
    kept._run()
    heard = [said.get_nowait() for _ in range(said.qsize())]
    assert heard[-1] == KeeperNews("off")
    assert max(waits) == 30.0
    assert not [one for one in heard if isinstance(one, BaseException)]


def test_a_command_that_hangs_is_tried_again_and_does_not_end_the_thread(
    make_keeper: Callable[..., tuple[Keeper, queue.Queue[object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "COMMAND_S", 0.2)
    monkeypatch.setattr(keeper, "MOST_QUICK_DEATHS", 1)
    kept, said = make_keeper(HANGS, ("acme", "Acme"))
    kept.start()
    while not (isinstance(news := said.get(timeout=10), KeeperNews) and news.state == "failed"):
        assert isinstance(news, KeeperNews), news
    assert "could not be started" in news.reason
    kept.stop()
    assert not kept._thread.is_alive()


def test_no_far_end_is_started_after_the_stop(
    make_keeper: Callable[..., tuple[Keeper, queue.Queue[object]]], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    kept, said = make_keeper(LEAVES_A_MARK.format(mark=str(mark)), ("acme", "Acme"))
    kept.start()
    said.get(timeout=10)
    while not mark.exists():
        time.sleep(0.01)
    kept.stop()
    kept._thread.join(10)
    assert mark.read_text() == "app\n"


def test_a_mistake_in_its_thread_is_told(
    make_keeper: Callable[..., tuple[Keeper, queue.Queue[object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, said = make_keeper(ENDS)

    def wrong(*_: object, **__: object) -> subprocess.Popen[bytes]:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(kept, "_spawn", wrong)
    kept.start()
    assert isinstance(said.get(timeout=10), KeeperNews)
    assert isinstance(said.get(timeout=10), ZeroDivisionError)
