"""A real ClickHouse server that the tests of one worker share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # servers: equipment of this room

from clusters import Cluster
from servers import ClickHouse

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all of this room to one worker, so that there is one server."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("engines"))


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A server for all tests that do not hurt it; each makes a database of its own."""
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    yield server
    server.stop()


@pytest.fixture
def database(clickhouse: ClickHouse) -> Iterator[str]:
    """An empty database on the shared server."""
    with clickhouse.database() as name:
        yield name


@pytest.fixture
def another_clickhouse(tmp_path: Path) -> Iterator[Callable[[], ClickHouse]]:
    """Start servers that a test may hurt."""
    started: list[ClickHouse] = []

    def start() -> ClickHouse:
        home = tmp_path / f"clickhouse-{len(started)}"
        home.mkdir()
        started.append(ClickHouse(home))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two shards of two replicas; for tests that are marked ``soak``."""
    servers = Cluster(tmp_path_factory.mktemp("cluster"))
    yield servers
    servers.stop()
