"""The tracking endpoints over real sockets, as the S-cases of NUCLEUS.md §8 ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

BASE = "/app/A/track"


def frame(*events: dict[str, Any], **top: Any) -> str:
    return json.dumps({**top, "data": list(events)})


def event(**more: Any) -> dict[str, Any]:
    return {"type": "event", "name": "E", "machineId": "m", **more}


@pytest.mark.parametrize(
    "path", ["/app/A/track", "/app/A/track/", "//app/A/track", "/A", "/A/", "/prefix/app/A/track"]
)
@pytest.mark.parametrize("unix", [False, True])
def test_s1_every_spelling_of_the_path_is_taken_as_app_a(
    far_end: Any, path: str, unix: bool
) -> None:
    ws = far_end.websocket(path, unix=unix, suppress_origin=True)
    ws.send(frame(event(id=1)))
    assert ws.recv() == '{"reportedIds":[1]}'
    assert far_end.sink.stored[0][0] == "A"
    ws.close()


def test_smoke_post(far_end: Any) -> None:
    status, body, headers = far_end.request("POST", BASE, frame(event(id=1)))
    assert (status, body) == (200, b'{"reportedIds":[1]}')


def test_smoke_line(far_end: Any, lines: Callable[..., list[bytes]]) -> None:
    sock = far_end.connect(unix=True)
    sock.sendall(frame(event(id=1), appId="A").encode() + b"\n")
    assert lines(sock, 1) == [b'{"reportedIds":[1]}']
    sock.close()
