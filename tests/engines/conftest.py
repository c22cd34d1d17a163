"""A real ClickHouse server that the tests of one worker share, and empty stores of both engines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.store.clickhouse import ClickHouseStore
from collector.store.clickhouse_address import PASSWORD, Address, address
from collector.store.duck import DuckStore
from collector.store.interface import Store

sys.path.insert(0, str(Path(__file__).resolve().parent))  # servers, clusters: of this room
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "collector"))  # of the one beside it

from clusters import Cluster
from collectors import NOW
from servers import ClickHouse

Opened = Callable[..., Store]


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
        server.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two shards of two replicas; for tests that are marked ``soak``."""
    servers = Cluster(tmp_path_factory.mktemp("cluster"))
    yield servers
    servers.stop()


# --- stores ------------------------------------------------------------------------------------


@pytest.fixture
def where(clickhouse: ClickHouse, database: str) -> Address:
    """The address of an empty database."""
    return address(clickhouse.engine(database), {PASSWORD: clickhouse.password})


@pytest.fixture(params=["duckdb", "clickhouse"])
def stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Opened]]:
    """Make openers; what one opens is empty at first, and then the same whenever it is opened."""
    with contextlib.ExitStack() as ends:

        def make() -> Opened:
            if request.param == "duckdb":
                path = tmp_path_factory.mktemp("store") / "events.duckdb"
                return _opener(ends, lambda now: DuckStore(path, now))
            server: ClickHouse = request.getfixturevalue("clickhouse")
            at = server.engine(ends.enter_context(server.database()))
            there = address(at, {PASSWORD: server.password})
            return _opener(ends, lambda _: ClickHouseStore(there, old_parts_s=1))

        yield make


@pytest.fixture
def opened(stores: Callable[[], Opened]) -> Opened:
    """Open the store of this test, again if need be."""
    return stores()


def _opener(ends: contextlib.ExitStack, open_: Callable[[int], Store]) -> Opened:
    current = ends.enter_context(contextlib.ExitStack())

    def again(now: int = NOW) -> Store:
        current.close()
        return current.enter_context(contextlib.closing(open_(now)))

    return again
