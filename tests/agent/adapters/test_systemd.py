"""sd_notify, over real datagram sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.machine.systemd import Supervisor


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What a service manager listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_each_sentence_is_one_datagram(manager: socket.socket) -> None:
    supervisor = Supervisor.of({"NOTIFY_SOCKET": manager.getsockname()})
    assert supervisor is not None
    supervisor.ready("Connected.\n1,204 delivered")
    supervisor.alive()
    supervisor.stopping()
    supervisor.close()
    heard = [manager.recv(4096) for _ in range(3)]
    assert heard == [
        b"READY=1\nSTATUS=Connected. 1,204 delivered",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_an_at_sign_means_the_abstract_namespace() -> None:
    name = f"homing-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        supervisor = Supervisor.of({"NOTIFY_SOCKET": f"@{name}"})
        assert supervisor is not None
        supervisor.ready()
        supervisor.close()
        assert sock.recv(64) == b"READY=1"


def test_a_sign_of_life_is_due_twice_in_the_managers_patience() -> None:
    env = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "60000000"}
    for pid, due_s in (("", 30.0), (str(os.getpid()), 30.0), ("1", None)):
        supervisor = Supervisor.of(env | {"WATCHDOG_PID": pid})
        assert supervisor is not None
        assert supervisor.alive_every_s == due_s
        supervisor.close()


@pytest.mark.parametrize("told", ["", "0", "soon", "-5"])
def test_a_manager_that_does_not_watch_wants_no_signs_of_life(told: str) -> None:
    supervisor = Supervisor.of({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": told})
    assert supervisor is not None
    assert supervisor.alive_every_s is None
    supervisor.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1", "relative/path", "@", "/"])
def test_without_an_address_that_we_can_reach_there_is_no_manager(address: str) -> None:
    assert Supervisor.of({"NOTIFY_SOCKET": address}) is None


def test_a_manager_that_does_not_listen_costs_one_line_and_nothing_else(
    tmp_path: Path,
    expected_warnings: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected_warnings("agent.systemd")
    supervisor = Supervisor.of({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert supervisor is not None
    for _ in range(3):
        supervisor.alive()
    supervisor.close()
    assert len(caplog.records) == 1


def test_a_manager_that_does_not_read_never_holds_us_up(
    manager: socket.socket, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.systemd")
    supervisor = Supervisor.of({"NOTIFY_SOCKET": manager.getsockname()})
    assert supervisor is not None
    for _ in range(5000):  # far more than the socket holds
        supervisor.alive()
    supervisor.close()
