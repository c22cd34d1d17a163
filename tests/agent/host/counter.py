"""A far end that keeps what it heard, and an app that speaks to the agent's socket."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection

from agent.host import Agent, HostDoor

Make = Callable[..., tuple[Agent, HostDoor]]


@dataclass
class FarEnd:
    """A far end that keeps what it heard, and acknowledges while it may."""

    frames: list[str] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)  # name of an event → when it came
    acknowledges: threading.Event = field(default_factory=threading.Event)
    server: Server | None = None

    @property
    def endpoint(self) -> str:
        assert self.server is not None
        return f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}"

    def hear(self, ws: ServerConnection) -> None:
        try:
            for text in ws:
                assert isinstance(text, str)
                self.frames.append(text)
                events = json.loads(text)["data"]
                for event in events:
                    self.times.setdefault(event.get("name", ""), time.monotonic())
                self.acknowledges.wait()
                ws.send(json.dumps({"reportedIds": [e["id"] for e in events if "id" in e]}))
        except ConnectionClosed:
            return

    @property
    def heard(self) -> list[dict[str, Any]]:
        return [event for text in self.frames for event in json.loads(text)["data"]]


def apps(far: FarEnd, *ids: str, more: str = "") -> str:
    return "".join(
        f'[[apps]]\nid = "{app_id}"\nspeaks = ["nucleus", "bucket"]\n{more}'
        f'[[apps.upstreams]]\nkind = "nucleus"\nendpoint = "{far.endpoint}"\n'
        'leave_out = ["user", "company", "feedback", "feature-flag-event", "prompt-event",'
        ' "channel-status-event"]\n'
        for app_id in ids
    )


class UnixHttp(http.client.HTTPConnection):
    """HTTP over the agent's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def post(
    agent: Agent, body: object, path: str = "/app/acme/track", **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = UnixHttp(agent.places.socket)
    try:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(
            "POST", path, json.dumps(body), {"Content-Type": "application/json", **named}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.headers.items())
    finally:
        connection.close()


def events(*said: dict[str, Any], **top: object) -> dict[str, Any]:
    return {**top, "data": list(said)}


def lines(agent: Agent) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(str(agent.places.socket))
    return sock


def until(true: Callable[[], object], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)
