"""The servers that these tests stand on are private, small, and gone when their tests are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException
from servers import ClickHouse, resident_mib, until


def test_the_server_is_the_one_that_debian_ships(clickhouse: ClickHouse) -> None:
    assert clickhouse.ask("SELECT version()") == [("18.16.1",)]
    assert clickhouse.ask("SELECT timezone()") == [("Etc/UTC",)]


def test_the_server_is_small_and_its_password_is_asked_for(clickhouse: ClickHouse) -> None:
    assert resident_mib(clickhouse.process.pid) < 500
    stranger = Client("127.0.0.1", port=clickhouse.port)
    with pytest.raises(ServerException, match="Password required"):
        stranger.execute("SELECT 1")
    stranger.disconnect()


def test_each_test_has_a_database_of_its_own(clickhouse: ClickHouse) -> None:
    with clickhouse.database() as one, clickhouse.database() as other:
        clickhouse.ask("CREATE TABLE t (x Int64) ENGINE = MergeTree ORDER BY x", one)
        assert clickhouse.ask("SHOW TABLES", other) == []
    assert not clickhouse.ask(f"SELECT 1 FROM system.databases WHERE name IN ('{one}', '{other}')")


def test_a_killed_server_comes_back_on_its_port_with_what_it_had(
    another_clickhouse: Callable[[], ClickHouse],
) -> None:
    server = another_clickhouse()
    port = server.port
    server.ask("CREATE TABLE t (x Int64) ENGINE = MergeTree ORDER BY x")
    server.ask("INSERT INTO t SELECT number FROM system.numbers LIMIT 7")
    server.kill()
    assert not server.answers
    server.start()
    assert (server.port, server.ask("SELECT count() FROM t")) == (port, [(7,)])


def test_a_server_dies_with_the_tests_that_started_it(tmp_path: Path) -> None:
    tests = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib; from servers import ClickHouse;"
            "print(ClickHouse(pathlib.Path(sys.argv[1])).process.pid, flush=True); time.sleep(60)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent,
    )
    assert tests.stdout is not None
    with tests.stdout:
        pid = int(tests.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        os.kill(tests.pid, signal.SIGKILL)
        tests.wait()
    until(lambda: not _runs(pid), 5, "the server survived who started it")


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
