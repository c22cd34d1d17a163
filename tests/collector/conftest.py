"""Real collectors: one that tests share, ones that they hurt, and stores by themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.store.duck import DuckStore

sys.path.insert(0, str(Path(__file__).resolve().parent))  # collectors: equipment of this room

from collectors import NOW, AppOf, Collector


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One server for all tests that do not hurt it; each makes an app of its own."""
    far_end = Collector(tmp_path_factory.mktemp("shared") / "data")
    yield far_end
    assert far_end.stop() == 0
    assert "Traceback" not in Path(far_end.log.name).read_text()


@pytest.fixture
def app(shared: Collector, request: pytest.FixtureRequest) -> AppOf:
    """An app that nobody else reports to."""
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in request.node.name)
    return AppOf(shared, f"{name[:40]}-{os.urandom(4).hex()}")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Start servers on the test's own folder; whatever still runs is ended."""
    started: list[Collector] = []

    def start(*words: str, folder: Path | None = None, **popen: Any) -> Collector:
        started.append(Collector(folder or tmp_path / "data", *words, **popen))
        return started[-1]

    yield start
    for far_end in started:
        far_end.kill()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., DuckStore]]:
    """Open the store of this test's folder, again if need be."""
    stores: list[DuckStore] = []

    def open_(now: int = NOW) -> DuckStore:
        for store in stores:
            store.close()
        stores.clear()
        stores.append(DuckStore(tmp_path / "events.duckdb", now))
        return stores[0]

    yield open_
    for store in stores:
        store.close()
