"""The border post of ClickHouse: connections to it, and its errors as ours.

The driver speaks ClickHouse's native protocol, to today's servers and to 18.16. One connection is
used by one thread at a time; who asks takes an idle one or makes one. What the network breaks is
tried once more on a new connection, because everything that is written here may be written twice.

A value is given to the driver beside the text and quoted by it; rows and long lists go as binary
blocks.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from clickhouse_driver import Client
from clickhouse_driver.errors import Error, ErrorCodes, ServerException, TypeMismatchError

from collector.store.clickhouse_address import Address
from tracking.errors import DiskFull, StorageFault

CONNECT_S = 5.0
SLACK_S = 2.0  #: The server is given the deadline; this long after it we stop listening.
IDLE_CONNECTIONS = 16
QUORUM_WAIT_S = 8.0  #: How long a write stands in line behind another collector's.

#: Codes by which the server calls a question wrong: our mistake, raised as it is.
BUGS = frozenset({10, 16, 20, 26, 36, 42, 43, 46, 47, 53, 62, 70, 71, 72, 115, 179, 184, 215, 386})
FULL = frozenset({243})
#: "The quorum of the write before this one is not reached yet": stand in line.
BUSY = frozenset({286})

#: The same answers as DuckDB's, and room for lists of keys.
SETTINGS: Mapping[str, object] = {
    "join_use_nulls": 1,
    "distributed_product_mode": "global",
    "max_query_size": 16 << 20,
    "max_ast_elements": 1_000_000,
    "max_expanded_ast_elements": 1_000_000,
    "max_bytes_before_external_sort": 256 << 20,
    "max_bytes_before_external_group_by": 512 << 20,
}

Row = tuple[Any, ...]
T = TypeVar("T")


class Door:
    """Asks and tells one ClickHouse; any thread may."""

    def __init__(self, where: Address) -> None:
        # Its warnings come with tracebacks, and say nothing that our faults do not.
        logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
        self.where = where
        self._idle: list[Client] = []
        self._lock = threading.Lock()
        self._closed = False

    def ask(
        self,
        query: str,
        values: Mapping[str, object] | None = None,
        *,
        deadline_s: float = 10.0,
        listed: Mapping[str, tuple[Sequence[tuple[str, str]], Sequence[Mapping[str, object]]]]
        | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> list[Row]:
        """Return what the server answers.

        Args:
            query: Text; ``%(name)s`` is a value, ``%%`` a per cent sign.
            values: Text, whole numbers and tuples of them, by name.
            deadline_s: After that many seconds the server gives up.
            listed: Tables that exist for this question: name → columns with types, rows.
            settings: More of the server's settings.

        Raises:
            StorageFault: It did not answer.
            ServerException: The question is wrong.

        """
        external = [
            {"name": name, "structure": list(columns), "data": list(rows)}
            for name, (columns, rows) in (listed or {}).items()
        ]
        more = {"max_execution_time": max(1, round(deadline_s)), **(settings or {})}

        def once(client: Client) -> list[Row]:
            return list(
                client.execute(
                    query, values or {"": 0}, settings=more, external_tables=external or None
                )
            )

        return self._with_client(once, deadline_s)

    def insert(
        self, table: str, columns: Sequence[str], data: Sequence[Sequence[object]], *, wait_s: float
    ) -> None:
        """Write rows, given by columns, and return when the server (and the quorum) has them.

        Raises:
            StorageFault: It is not known whether it has them; writing them again is safe.

        """
        text = f"INSERT INTO {table} ({', '.join(columns)}) VALUES"
        settings: dict[str, object] = {"insert_distributed_sync": 1}
        if self.where.quorum:
            settings |= {"insert_quorum": self.where.quorum}
            settings["insert_quorum_timeout"] = round(wait_s * 1000)
        end = time.monotonic() + QUORUM_WAIT_S
        pause_s = 0.01
        while True:
            try:
                self._with_client(
                    lambda client: client.execute(text, data, columnar=True, settings=settings),
                    wait_s,
                )
                return
            except Waiting as fault:
                if time.monotonic() > end:
                    raise StorageFault(str(fault)) from fault
                time.sleep(pause_s)
                pause_s = min(0.2, 2 * pause_s)

    def stream(self, query: str, values: Mapping[str, object], *, slice_: int) -> Iterator[Row]:
        """Yield rows as they come, over a connection of their own, without a deadline."""
        client = self._connect(600.0)
        try:
            with _translated():
                yield from client.execute_iter(
                    query, dict(values), settings={"max_block_size": slice_}
                )
        finally:
            client.disconnect()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for client in idle:
            client.disconnect()

    def _with_client(self, work: Callable[[Client], T], deadline_s: float) -> T:
        """Do it on an idle connection, or a new one; once more if the network breaks it."""
        for last in (False, True):
            client = self._take(fresh=last)
            client.connection.send_receive_timeout = deadline_s + SLACK_S
            if client.connection.connected:
                client.connection.socket.settimeout(deadline_s + SLACK_S)
            try:
                with _translated():
                    answer = work(client)
            except BaseException as exc:
                client.disconnect()
                if isinstance(exc, Broken) and not last:
                    continue
                raise
            self._give_back(client)
            return answer
        raise AssertionError("unreachable")

    def _take(self, *, fresh: bool) -> Client:
        with self._lock:
            if self._closed:
                raise StorageFault("the store is closed")
            if self._idle and not fresh:
                return self._idle.pop()
        return self._connect(10.0)

    def _give_back(self, client: Client) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append(client)
                return
        client.disconnect()

    def _connect(self, timeout_s: float) -> Client:
        (host, port), *others = self.where.hosts
        return Client(
            host,
            port=port,
            alt_hosts=",".join(f"{name}:{number}" for name, number in others) or None,
            user=self.where.user,
            password=self.where.password,
            database=self.where.database,
            secure=self.where.secure,
            verify=True,
            client_name="homing-collector",
            connect_timeout=CONNECT_S,
            send_receive_timeout=timeout_s,
            settings=dict(SETTINGS),
        )


class Broken(StorageFault):
    """The connection broke; another may do."""

    code = "storage.away"


class Waiting(StorageFault):
    """Another write is not finished yet."""

    code = "storage.busy"


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Translate the driver's errors of the world; a wrong question stays a bug."""
    try:
        yield
    except ServerException as exc:
        if exc.code in BUGS:
            raise
        first = str(exc.message).split(" Stack trace", 1)[0].splitlines()[0][:300]
        said = f"ClickHouse said {exc.code}: {first}"
        if exc.code == ErrorCodes.TIMEOUT_EXCEEDED:
            raise StorageFault("the store took too long to answer") from exc
        raise (DiskFull if exc.code in FULL else Waiting if exc.code in BUSY else StorageFault)(
            said
        ) from exc
    except TypeMismatchError:
        raise
    except TimeoutError as exc:
        raise StorageFault("the store took too long to answer") from exc
    except (OSError, EOFError, Error) as exc:
        text = (str(exc) or type(exc).__name__).splitlines()[0][:200]
        raise Broken(f"ClickHouse does not answer: {text}") from exc
