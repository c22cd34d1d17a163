"""Whose word about an address is believed (SECURITY.md, threat 61)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import websocket
from collectors import Collector
from hypothesis import given
from hypothesis import strategies as st

from collector.entrance import Entrance, forwarded_for
from collector.metrics import Metrics
from collector.settings import network

Run = Callable[..., Collector]
TRUSTED = tuple(map(network, ("10.0.0.0/8", "2001:db8:ff::/48", "192.0.2.9")))


def through(host: str, *said: str) -> str | None:
    return forwarded_for(
        host, [(b"x-forwarded-for", one.encode("latin-1")) for one in said], TRUSTED
    )


@pytest.mark.parametrize(
    ("host", "said", "sender"),
    [
        ("198.51.100.1", ["203.0.113.5"], None),  # not a proxy of ours
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.5"], "203.0.113.5"),  # the left one is the sender's own
        ("10.0.0.1", ["6.6.6.6, 203.0.113.5, 10.9.9.9"], "203.0.113.5"),  # two proxies of ours
        ("10.0.0.1", ["6.6.6.6", "203.0.113.5"], "203.0.113.5"),  # two lines are one
        ("10.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
        ("10.0.0.1", ["[2001:db8::5]:4711"], "2001:db8::5"),
        ("10.0.0.1", ["2001:db8::5"], "2001:db8::5"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.5"], "203.0.113.5"),
        ("2001:db8:ff::1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", [], "10.0.0.1"),  # the proxy itself asks
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [", ,"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4.5"], "10.0.0.1"),
        ("10.0.0.1", ["\xff\xfe"], "10.0.0.1"),
        ("", ["203.0.113.5"], None),
        ("pid:17", ["203.0.113.5"], None),
    ],
)
def test_61_the_rightmost_stranger_is_the_sender(
    host: str, said: list[str], sender: str | None
) -> None:
    assert through(host, *said) == sender


@given(st.text(st.characters(max_codepoint=255)), st.ip_addresses())
def test_61_what_a_sender_writes_itself_changes_nothing(forged: str, real: Any) -> None:
    """A proxy adds the real address on the right, whatever stands before it."""
    assert through("10.0.0.1", f"{forged}, {real}") == through("10.0.0.1", str(real))


def post(far_end: Collector, n: int, forwarded: str) -> int:
    body = {"data": [{"name": "E", "id": n, "machineId": "m"}]}
    return far_end.request("POST", "/app/A/track", body, {"X-Forwarded-For": forwarded})[0]


def test_61_behind_a_trusted_proxy_each_sender_has_its_own_limits(run: Run) -> None:
    far_end = run(
        *("--trusted-proxies", "127.0.0.0/30,::1", "--peer-burst", "2", "--per-peer", "2"),
        *("--peer-events-per-s", "0.01"),
    )
    far_end.app("A")
    forged = [post(far_end, n, f"198.51.100.{n}, 203.0.113.5") for n in range(4)]
    assert forged == [200, 200, 429, 429]
    assert [post(far_end, n, "203.0.113.6") for n in range(3)] == [200, 200, 429]

    # Wrong tokens are counted for who tries them, and not for the proxy.
    path = "/api/v1/apps/A/analytics/quickglance"
    for n in range(12):
        said = {"Authorization": f"dat1_wrong{n}", "X-Forwarded-For": "203.0.113.7"}
        assert far_end.request("GET", path, headers=said)[0] == (401 if n < 10 else 429)
    token = far_end.app("A", "admin")
    said = {"Authorization": token, "X-Forwarded-For": "203.0.113.8"}
    assert far_end.request("GET", path, headers=said)[0] == 200

    # So are connections: two from one sender, and the proxy may have as many as it needs.
    for address in ("203.0.113.9", "203.0.113.10"):
        header = {"X-Forwarded-For": address}
        for _ in range(2):
            far_end.ws(header=header)
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            far_end.ws(header=header)
        assert caught.value.status_code == 503
        assert caught.value.resp_headers is not None
        assert int(caught.value.resp_headers["retry-after"]) >= 1
    assert json.loads(far_end.admin("/status"))["counts"]["over_quota"] == 3


def test_a_sender_that_goes_leaves_its_place(run: Run) -> None:
    far_end = run("--trusted-proxies", "127.0.0.1", "--per-peer", "1")
    far_end.app("A")
    for _ in range(5):
        with contextlib.closing(far_end.ws(header={"X-Forwarded-For": "203.0.113.9"})) as ws:
            ws.send('{"data":[]}')
            assert ws.recv()
            ws.close()


@pytest.mark.parametrize(
    ("kind", "peer", "proto", "scheme"),
    [
        ("http", "10.0.0.1", "https", "https"),
        ("http", "10.0.0.1", "http, https", "https"),  # the nearest proxy's word
        ("websocket", "10.0.0.1", "https", "wss"),
        ("http", "10.0.0.1", "gopher", "http"),
        ("http", "198.51.100.1", "https", "http"),  # not a proxy of ours
    ],
)
def test_61_the_scheme_is_a_trusted_proxys_to_tell(
    kind: str, peer: str, proto: str, scheme: str
) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive, send
        seen.append((scope["scheme"], scope["client"][0]))

    entrance = Entrance(
        app, [], trusted=["10.0.0.0/8"], per_peer=10, metrics=Metrics(), come_back_s=1
    )
    headers = [(b"x-forwarded-for", b"203.0.113.5"), (b"x-forwarded-proto", proto.encode())]
    scope: dict[str, Any] = {
        "type": kind,
        "path": "/",
        "client": (peer, 4711),
        "scheme": "http" if kind == "http" else "ws",
        "headers": headers,
    }
    nobody: Any = None
    asyncio.run(entrance(scope, nobody, nobody))
    assert seen == [(scheme, "203.0.113.5" if peer == "10.0.0.1" else peer)]
    assert not entrance.open
