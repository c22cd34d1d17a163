"""A real collector in a process of its own, and what tests say to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import websocket

from collector.access.accounts import Accounts
from collector.intake.ingest import content_key
from collector.places import Folder, connect_admin
from collector.store.interface import Stored
from tracking.events import Event, Kind

NOW = 1_795_225_137_000  #: A Saturday in November 2026; only tests with their own clock use it.
HOUR, DAY = 3_600_000, 86_400_000
PROGRAM = (sys.executable, "-m", "homing", "collector")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until something holds; return what it returned."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


class Collector:
    """One `homing collector serve` process on a folder of its own."""

    def __init__(self, folder: Path, *words: str, **popen: Any) -> None:
        self.folder = Folder(folder).prepare()
        self.clients: list[websocket.WebSocket] = []
        self.log = (folder.parent / f"{folder.name}.log").open("ab")
        self.process = subprocess.Popen(
            [*PROGRAM, "serve", "--json", "--port", "0", "--data-dir", str(folder), *words],
            stdin=popen.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=self.log,
            **popen,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, Path(self.log.name).read_text()
        self.ready = json.loads(line)
        self.port: int = self.ready["port"]

    # --- clients -------------------------------------------------------------------------------

    def ws(self, path: str = "/app/A/track", **options: Any) -> websocket.WebSocket:
        client = websocket.create_connection(
            f"ws://127.0.0.1:{self.port}{path}", timeout=20, **options
        )
        self.clients.append(client)
        return client

    def say(self, frame: object, app: str = "A") -> Any:
        """Send one frame over a socket of its own; return the reply."""
        with contextlib.closing(self.ws(f"/app/{app}/track")) as client:
            client.send(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))
            return json.loads(client.recv())

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            raw = response.read()
            text = response.headers.get("Content-Type", "").startswith("application/json")
            return response.status, json.loads(raw) if text else raw, response.headers

    def ask(self, path: str, token: str, app: str = "A") -> Any:
        status, said, _ = self.request(
            "GET", f"/api/v1/apps/{app}{path}", headers={"Authorization": token}
        )
        assert status == 200, said
        return said["data"]

    # --- administration ------------------------------------------------------------------------

    def app(self, app_id: str, *scopes: str) -> str:
        """Make an app; return a token for it."""
        with contextlib.closing(Accounts(self.folder.accounts)) as accounts:
            accounts.add_app(app_id, now_ms(), app_id=app_id, if_missing=True)
            return accounts.add_token(app_id, scopes, now_ms())

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return command(*words, folder=self.folder.path)

    def export(self, app: str = "A") -> list[dict[str, Any]]:
        """Return all that is stored of an app, as the command line asks for it."""
        return [json.loads(line) for line in self.admin(f"/export/{app}").splitlines()]

    def admin(self, path: str) -> bytes:
        sock = connect_admin(self.folder, 30.0)
        assert sock is not None
        connection = http.client.HTTPConnection("localhost")
        connection.sock = sock
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    def status(self) -> Any:
        return json.loads(self.admin("/status"))

    # --- ends ----------------------------------------------------------------------------------

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            for client in self.clients:
                with contextlib.suppress(OSError):
                    client.shutdown()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.log.close()


def command(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `homing collector …` to its end."""
    more = [] if folder is None else ["--data-dir", str(folder)]
    return subprocess.run(
        [*PROGRAM, *words, *more],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


class AppOf:
    """One app on the shared server, seen by its maker."""

    def __init__(self, far_end: Collector, app_id: str) -> None:
        self.far_end = far_end
        self.id = app_id
        self.token = far_end.app(app_id, "admin")

    def say(self, frame: object) -> Any:
        return self.far_end.say(frame, self.id)

    def ask(self, path: str) -> Any:
        return self.far_end.ask(path, self.token, self.id)

    def glance(self) -> dict[str, int]:
        return dict(self.ask("/analytics/quickglance"))

    @property
    def stored(self) -> list[dict[str, Any]]:
        return self.far_end.export(self.id)


# --- the store by itself -----------------------------------------------------------------------


def row(**more: Any) -> Stored:
    """One event as it is stored; its key comes from its content, as in life."""
    said: dict[str, Any] = {
        **dict.fromkeys(Stored._fields, ""),
        "attr_keys": [],
        "attr_values": [],
        "app_id": "A",
        "ts": NOW,
        "recv_ts": NOW,
        "kind": "event",
        "type": "event",
        "name": "E",
        "device_id": "d",
        "avail_ram": 0,
        "flags": 0,
        **more,
    }
    said["said_ts"] = more.get("said_ts", said["ts"])
    event = Event(
        kind=Kind.EVENT,
        type=said["type"],
        name=said["name"],
        id=said["event_id"] or None,
        date=said["said_ts"] or None,
        session_id=said["session_id"],
        payload=said["payload"].encode() or None,
    )
    key = content_key(said["app_id"], said["device_id"], event)
    said["key_a"], said["key_b"] = struct.unpack(">qq", key)
    said |= {name: more[name] for name in ("key_a", "key_b") if name in more}
    return Stored(**said)
