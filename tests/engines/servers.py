"""Real ClickHouse servers, and a cluster of them, for tests: private, on loopback, below a folder.

Debian's `clickhouse-server` (18.16) starts in a fifth of a second with 70 MB. Whatever is started
here dies with the process that started it (``setpriv --pdeathsig``), also when that is killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from clickhouse_driver import Client

PROGRAM = "/usr/sbin/clickhouse-server"
TRIES = 3  #: A port that was free may be taken before the server has it.
CONFIG = """<?xml version="1.0"?>
<yandex>
  <logger><level>warning</level><log>{home}/server.log</log><errorlog>{home}/errors.log</errorlog>
    <size>10M</size><count>1</count></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port>
  <interserver_http_host>127.0.0.1</interserver_http_host>
  <interserver_http_port>{inter}</interserver_http_port>
  <max_connections>256</max_connections><max_concurrent_queries>64</max_concurrent_queries>
  <mark_cache_size>67108864</mark_cache_size><uncompressed_cache_size>0</uncompressed_cache_size>
  <path>{home}/data/</path><tmp_path>{home}/tmp/</tmp_path>
  <user_files_path>{home}/user_files/</user_files_path>
  <format_schema_path>{home}/format_schemas/</format_schema_path>
  <users_config>users.xml</users_config><default_profile>default</default_profile>
  <default_database>default</default_database><timezone>UTC</timezone>
  <macros><shard>{shard}</shard><replica>{replica}</replica></macros>
  <distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>
  <builtin_dictionaries_reload_interval>3600</builtin_dictionaries_reload_interval>
  {more}
</yandex>
"""
USERS = """<?xml version="1.0"?>
<yandex>
  <profiles><default>
    <max_memory_usage>2000000000</max_memory_usage><background_pool_size>4</background_pool_size>
  </default></profiles>
  <users><default><password>{password}</password>
    <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
  </default></users>
  <quotas><default><interval><duration>3600</duration><queries>0</queries><errors>0</errors>
    <result_rows>0</result_rows><read_rows>0</read_rows><execution_time>0</execution_time>
  </interval></default></quotas>
</yandex>
"""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody has at this moment."""
    with contextlib.ExitStack() as ends:
        socks = [ends.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


def until(holds: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Daemon:
    """One process of ours that is stopped by its own id, or dies with us."""

    process: subprocess.Popen[bytes]

    def launch(self, words: Sequence[str], home: Path) -> None:
        with (home / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                start_new_session=True,  # Ctrl-C in the terminal is for the tests, which stop it
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a cut of power would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end; one that was asked for 15 seconds is killed."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


class ClickHouse(Daemon):
    """One ClickHouse server.

    Args:
        home: Its folder, which exists.
        ports: For TCP, HTTP and between servers; free ones if left out.
        more: More of its configuration, as XML.
        shard: What ``{shard}`` stands for.
        replica: What ``{replica}`` stands for.
        password: Of user ``default``.

    """

    def __init__(
        self,
        home: Path,
        *,
        ports: Sequence[int] | None = None,
        more: str = "",
        shard: str = "01",
        replica: str = "a",
        password: str = "",
    ) -> None:
        self.home = home
        self.password = password or secrets.token_hex(8)
        self._wanted = ports
        self._more, self._shard, self._replica = more, shard, replica
        for folder in ("data", "tmp", "user_files", "format_schemas"):
            (home / folder).mkdir(exist_ok=True)
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, again if it was stopped or killed: on the same port then."""
        for _ in range(TRIES):
            ports = self._wanted or free_ports(3)
            self._configure(ports)
            self.launch([PROGRAM, f"--config-file={self.home}/config.xml"], self.home)
            until(lambda: self.answers or not self.alive, 20, "ClickHouse did not answer")
            if self.alive:
                self._wanted = ports
                return
        raise AssertionError((self.home / "output.log").read_text(errors="replace")[-2000:])

    def _configure(self, ports: Sequence[int]) -> None:
        self.port = ports[0]
        config = CONFIG.format(
            home=escape(str(self.home)),
            tcp=ports[0],
            http=ports[1],
            inter=ports[2],
            shard=self._shard,
            replica=self._replica,
            more=self._more,
        )
        (self.home / "config.xml").write_text(config)
        users = self.home / "users.xml"
        users.touch(0o600)
        users.write_text(USERS.format(password=self.password))

    @property
    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return self.ask("SELECT 1") == [(1,)]

    def ask(self, query: str, database: str = "default") -> list[tuple[object, ...]]:
        """Ask over a connection of its own."""
        client = Client(
            "127.0.0.1",
            port=self.port,
            password=self.password,
            database=database,
            connect_timeout=5,
            send_receive_timeout=30,
        )
        try:
            return client.execute(query)  # type: ignore[no-any-return]
        finally:
            client.disconnect()

    def engine(self, database: str) -> str:
        """Return what ``--engine`` says of it; the password is told otherwise."""
        return f"clickhouse://default@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """An empty database that nobody else uses."""
        name = f"test_{secrets.token_hex(6)}"
        self.ask(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            if self.alive:
                self.ask(f"DROP DATABASE {name}")


def resident_mib(pid: int) -> float:
    """Return how much memory a process has, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2
