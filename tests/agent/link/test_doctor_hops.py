"""`doctor network` at far ends of this computer: its verdict is the one the agent comes to.

Behind a proxy that kills upgrades the agent delivers over HTTP; the walk must not fail there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from far_ends import RawFarEnd, read_request, upgrade
from http_ends import response

from agent.adapters.roads.atlas import Atlas
from agent.door.network import Hop, Walk
from agent.runtime.networks import speaking
from agent.runtime.networks.hops import walk
from agent.runtime.networks.targets import Target

RawFarEnds = Callable[..., RawFarEnd]
Answer = Callable[[socket.socket], None]


def walked(endpoint: str, **known: bool) -> tuple[Walk, dict[str, Hop]]:
    """Walk to a far end; the hops by their names."""
    target = Target("acme", "vendor", "nucleus", endpoint, **known)
    found = walk(target, Atlas(), None)
    return found, {hop.name: hop for hop in found.hops}


def cut(_: socket.socket) -> None:
    """Hang up on an upgrade."""


def swallow(sock: socket.socket) -> None:
    """Never answer an upgrade, or what follows it."""
    while sock.recv(65536):
        pass


def stripped(sock: socket.socket) -> None:
    """Answer what an upgrade becomes on the way: a plain GET that no far end has."""
    sock.sendall(response(b"{}", "426 Upgrade Required"))


def unknown(sock: socket.socket) -> None:
    """Refuse who asks."""
    sock.sendall(response(b"{}", "401 Unauthorized"))


def far(killed: Answer, posted: bytes | None) -> Answer:
    """A far end behind a proxy that does ``killed`` to upgrades and lets POST through."""

    def behave(sock: socket.socket) -> None:
        request = read_request(sock)
        if b"upgrade: websocket" in request.lower():
            killed(sock)
        elif posted is not None:
            sock.sendall(posted)
        sock.close()

    return behave


@pytest.mark.parametrize("killed", [cut, swallow, stripped])
def test_a_blocked_websocket_is_a_warning_where_events_go_over_http(
    raw_far_end: RawFarEnds, killed: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "UPGRADE_S", 0.3)
    found, hops = walked(raw_far_end(far(killed, response())).url)
    assert found.failed == ""
    assert hops["websocket"].verdict == "warning"
    assert hops["websocket"].evidence.startswith("no WebSocket gets through: ")
    assert "over HTTP" in hops["websocket"].repair
    assert hops["http"].verdict == "ok"
    assert list(hops)[-3:] == ["websocket", "http", "acknowledgement"]


def test_a_websocket_that_opens_and_says_nothing_is_a_blocked_one(
    raw_far_end: RawFarEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "UPGRADE_S", 0.3)
    first = [True]

    def behave(sock: socket.socket) -> None:
        if first.pop() if first else False:
            upgrade(sock)
            swallow(sock)
        read_request(sock)
        sock.sendall(response())

    found, hops = walked(raw_far_end(behave).url)
    assert (found.failed, hops["websocket"].verdict) == ("", "warning")
    assert "a pong" in hops["websocket"].evidence


def test_where_neither_gets_through_the_websocket_fails_with_a_repair(
    raw_far_end: RawFarEnds,
) -> None:
    found, hops = walked(raw_far_end(far(cut, None)).url)
    assert found.failed == "websocket"
    assert "let WebSockets through" in hops["websocket"].repair
    assert hops["http"].verdict == "warning"
    assert hops["acknowledgement"].verdict == "skipped"


def test_a_far_end_that_refuses_who_asks_is_not_walked_around(raw_far_end: RawFarEnds) -> None:
    found, hops = walked(raw_far_end(far(unknown, response())).url)
    assert (found.failed, hops["websocket"].code) == ("websocket", "link.refused")
    assert hops["http"].verdict == "skipped"


def test_where_the_settings_forbid_http_a_blocked_websocket_is_an_error(
    raw_far_end: RawFarEnds,
) -> None:
    found, hops = walked(raw_far_end(far(cut, response())).url, by_http=False)
    assert (found.failed, hops["http"].verdict) == ("websocket", "skipped")


def test_nobody_at_a_port_of_this_computer_is_no_business_of_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    found, hops = walked(f"ws://127.0.0.1:{port}")
    assert found.failed == "tcp"
    assert hops["tcp"].repair == (
        f"Start what should listen at port {port} of this computer, or correct the endpoint."
    )


@pytest.mark.parametrize(
    ("running", "said"),
    [(True, "none since the agent started"), (False, "not asked")],
)
def test_no_acknowledgement_is_not_said_to_mean_that_nothing_was_ever_sent(
    raw_far_end: RawFarEnds, running: bool, said: str
) -> None:
    _, hops = walked(raw_far_end(far(stripped, response())).url, running=running)
    assert hops["acknowledgement"].evidence == f"{said}: an event sent to see would count"
