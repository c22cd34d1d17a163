"""A gateway on a loop of its own, over sinks in memory, and raw sockets to knock with.

What the checks let through is seen in the sinks; what they refuse is compared byte by byte. The
agent as a whole stands in test_whole_agent.py.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from agent.adapters.local.gateway_protocol import NOTHING_HERE
from agent.door.gateway import GiveToken, ListTokens, NewToken, Revoked, RevokeTokens
from agent.runtime.loopback.gateway import Gateway, Standing
from tracking.bucket import Batch
from tracking.bucket_endpoints import BucketKey, Repeat
from tracking.errors import Fault
from tracking.events import Frame, Limits
from tracking.sink import Origin, Receipt

T = TypeVar("T")
JSON = {"Content-Type": "application/json"}
KEY = base64.b64encode(b"sixteen bytes ok").decode()
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
EVENT = b'{"data":[{"id":1,"name":"hello","deviceId":"dev","anonId":"anon-1"}]}'


PAGE = "tauri://localhost"
ORIGINS = {  # as sent: whether the gate lets it in
    "": True,
    "http://127.0.0.1:{}": True,  # Python's websocket-client says so of itself
    PAGE: True,
    "null": False,
    "https://evil.example": False,
    "http://localhost:5173": False,
    "http://127.0.0.1": False,
    "https://127.0.0.1:{}": False,
    "http://localhost:{}": False,  # the gateway's, but not by the Host that it was asked as
    "TAURI://LOCALHOST": False,
    "tauri://localhost/": False,
    "tauri://localhost.evil.example": False,
    "file://": False,
}


class Kept:
    """Both sinks; keeps what came in."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, Frame]] = []
        self.batches: list[tuple[str, Batch, Repeat | None]] = []
        self.keys: list[BucketKey] = []
        self.fault: Fault | None = None

    @property
    def rows(self) -> int:
        return len(self.frames) + len(self.batches)

    async def admit(self, app_id: str, origin: Origin, *, frame_follows: bool = False) -> None:
        if self.fault is not None:
            raise self.fault

    async def accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        self.frames.append((app_id, frame))
        return Receipt()

    def joined(self, app_id: str, connection: int) -> None: ...
    def left(self, app_id: str, connection: int) -> None: ...
    def refused(self, app_id: str, frame: Frame) -> None: ...

    async def app_of(self, key: BucketKey) -> str | None:
        self.keys.append(key)
        return key.text

    async def keep(
        self, app_id: str, batch: Batch, origin: Origin, repeat: Repeat | None
    ) -> bytes | None:
        self.batches.append((app_id, batch, repeat))
        return None


class Board:
    """What a person is shown."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def note(self, code: str, text: str, severity: str) -> None:
        self.told[code] = text

    def unnote(self, code: str) -> None:
        self.told.pop(code, None)


class House:
    """A running gateway.

    Args:
        file: Of its tokens.
        options: For the gateway.

    """

    def __init__(self, file: Path, **options: Any) -> None:
        self.file = file
        self.kept = Kept()
        self.board = Board()
        self.now_ms = 1_760_000_000_000
        self.loop = asyncio.new_event_loop()
        self.mistakes: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.mistakes.append(context))
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.open(**options)

    def open(self, **options: Any) -> None:
        """Make a gateway, as a start of the agent does."""
        chosen = {"connections": 64, "port": 0} | options

        async def make() -> Gateway:
            gateway = Gateway(
                self.file,
                self.kept,
                self.kept,
                chosen.pop("limits", Limits()),
                notes=self.board,
                standing_of=lambda _: Standing("allowed", frozenset({"nucleus", "bucket"})),
                is_app=lambda app_id: app_id in ("acme", "acme-notes"),
                wall_ms=lambda: self.now_ms,
                **chosen,
            )
            await gateway.open()
            return gateway

        self.gateway = self.run(make())

    def run(self, errand: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(errand, self.loop).result(15)

    def give(self, app_id: str = "acme", *origins: str) -> NewToken:
        return self.run(self.gateway.give(GiveToken(app_id=app_id, origins=origins)))

    def revoke(self, app_id: str = "acme", prefix: str | None = None) -> Revoked:
        return self.run(self.gateway.revoke(RevokeTokens(app_id=app_id, prefix=prefix)))

    def tokens(self) -> Any:
        return self.run(self.gateway.show(ListTokens()))

    def connections(self) -> int:
        listener = self.gateway._listener
        return 0 if listener is None else len(listener.connections)

    async def _rest(self) -> None:
        """Let what served the last connections come to its end."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)

    def close(self) -> None:
        self.run(self.gateway.close())
        self.run(self._rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        assert self.mistakes == []


def target(token: NewToken, rest: str = "app/acme/track") -> str:
    """Return a path behind the token."""
    return f"/t/{token.token}/{rest}"


def ours(token: NewToken) -> dict[str, str]:
    """Return the Host that the gateway has."""
    return {"Host": f"127.0.0.1:{token.port}"}


def head(
    method: str, target: str, headers: Mapping[str, str] | list[tuple[str, str]], body: bytes = b""
) -> bytes:
    """Return a request; its Content-Length is the body's, if it has one."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if body and not any(name.lower() == "content-length" for name, _ in pairs):
        pairs.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def knock(port: int, request: bytes, *, host: str = "127.0.0.1", wait_s: float = 3.0) -> bytes:
    """Send bytes; return all that comes back until the far side closes, or a whole answer."""
    with socket.create_connection((host, port), wait_s) as sock:
        sock.settimeout(wait_s)
        sock.sendall(request)
        answer = b""
        with contextlib.suppress(TimeoutError):
            while not _whole(answer):
                part = sock.recv(65536)
                if not part:
                    break
                answer += part
        return answer


def _whole(answer: bytes) -> bool:
    """Tell whether an HTTP answer that keeps its connection has arrived."""
    start, mark, body = answer.partition(b"\r\n\r\n")
    if not mark or answer.startswith(NOTHING_HERE[:12]):  # of those, all bytes until the close
        return False
    if start.startswith((b"HTTP/1.1 101", b"HTTP/1.1 204")):
        return True
    for line in start.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False


def headers_of(answer: bytes) -> dict[str, str]:
    """Return the headers of an answer, names in lower case."""
    start = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    pairs = (line.split(": ", 1) for line in start.split("\r\n")[1:])
    return {name.lower(): value for name, value in pairs}


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def until(true: Any, within_s: float = 5.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.01)


def running(file: Path, **options: Any) -> Iterator[House]:
    house = House(file, **options)
    yield house
    house.close()
