"""What the machine says of routes, meters and batteries, and what it means when it says nothing."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from agent.adapters.machine.battery import battery
from agent.adapters.machine.metered import metered
from agent.adapters.machine.route_watch import RouteWatch, has_default, open_netlink, routes

ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t{count}\t0\t0\t00FFFFFF\t0\t0\t0
"""
SIX = (
    "fd000000000000000000000000000000 40 " + "0" * 32 + " 00 " + "0" * 32 + " 00000100 00000001"
    " 00000000 00000001     eth0\n"
)


def write(folder: Path, *, count: int = 0, metric: int = 0, six: str = SIX) -> None:
    (folder / "route").write_text(ROUTE.format(count=count, metric=metric))
    (folder / "ipv6_route").write_text(six)


def test_routes_are_compared_without_what_the_kernel_counts(tmp_path: Path) -> None:
    write(tmp_path)
    known = routes(tmp_path)
    assert len(known) == 3
    write(tmp_path, count=9, six=SIX.replace("00000001 00000000", "00000777 00000009"))
    assert routes(tmp_path) == known
    write(tmp_path, six=SIX + SIX.replace("fd00", "fd01"))
    assert routes(tmp_path) > known
    assert has_default(known)
    (tmp_path / "route").write_text(ROUTE.splitlines()[0] + "\n")
    assert not has_default(routes(tmp_path))
    assert routes(tmp_path / "nowhere") == frozenset()


def test_this_machine_has_routes() -> None:
    assert routes()


async def watch(said: int, change: Callable[[], None], look: Callable[[], Any]) -> int:
    """Return how many changes are heard after the kernel spoke so often."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    heard: list[None] = []
    watching = RouteWatch(asyncio.get_running_loop(), lambda: heard.append(None), ours, look=look)
    assert watching.watching
    change()
    for _ in range(said):
        theirs.send(b"\0" * 32)
    await asyncio.sleep(0.5)
    watching.close()
    watching.close()
    assert not watching.watching
    theirs.close()
    return len(heard)


@pytest.mark.parametrize(
    ("words", "changes", "heard"), [(1, 1, 1), (50, 1, 1), (50, 0, 0), (0, 1, 0)]
)
def test_only_a_difference_counts_however_much_the_kernel_says(
    words: int, changes: int, heard: int
) -> None:
    known = [frozenset({("route", "a")})]

    def change() -> None:
        if changes:
            known[0] = frozenset({("route", "b")})

    assert asyncio.run(watch(words, change, lambda: known[0])) == heard


def test_a_real_kernel_tells_of_a_real_address() -> None:
    """In a network namespace of its own, so as root."""
    code = """
import asyncio, subprocess
from agent.adapters.machine.route_watch import RouteWatch, open_netlink
async def main():
    heard = asyncio.Event()
    watch = RouteWatch(asyncio.get_running_loop(), heard.set, open_netlink())
    assert watch.watching
    for line in ("add d0 type veth peer name d1", "set d1 up", "set d0 up"):
        subprocess.run(["ip", "link", *line.split()], check=True)
    subprocess.run("ip addr add 10.9.0.1/24 dev d0".split(), check=True)
    await asyncio.wait_for(heard.wait(), 5)
    watch.close()
asyncio.run(main())
"""
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_netlink_socket_is_had_where_there_is_one() -> None:
    sock = open_netlink()
    assert sock is not None
    assert not sock.getblocking()
    sock.close()


# --- battery and meter -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, (None, None)),
        (SimpleNamespace(percent=19.5, power_plugged=False), (False, 19.5)),
        (SimpleNamespace(percent=80, power_plugged=None), (None, 80.0)),
    ],
)
def test_a_battery_is_read(monkeypatch: pytest.MonkeyPatch, found: Any, said: Any) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: found, raising=False)
    assert battery() == said


@pytest.mark.parametrize("wrong", [OSError("gone"), RuntimeError("odd"), AttributeError("none")])
def test_a_battery_that_cannot_be_read_is_not_known(
    monkeypatch: pytest.MonkeyPatch, wrong: Exception
) -> None:
    def fail() -> None:
        raise wrong

    monkeypatch.setattr(psutil, "sensors_battery", fail, raising=False)
    assert battery() == (None, None)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A message bus of the test's own in the place of the system's."""
    address = f"unix:path={tmp_path}/bus"
    config = tmp_path / "bus.conf"
    config.write_text(
        '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"'
        ' "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd"><busconfig>'
        f"<type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>"
        '<policy context="default"><allow own="*"/><allow send_destination="*"/>'
        '<allow receive_sender="*"/></policy></busconfig>'
    )
    process = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    yield address
    process.terminate()
    process.wait(5)
    process.stdout.close()


def network_manager(address: str, value: object) -> threading.Thread:
    """Answer one question for ``Metered`` as NetworkManager would."""
    connection = open_dbus_connection(bus=address)
    connection.send_and_get_reply(message_bus.RequestName("org.freedesktop.NetworkManager"))

    def serve() -> None:
        with connection:
            while True:
                asked = connection.receive(timeout=5)
                if asked.header.message_type is not MessageType.method_call:
                    continue
                assert asked.body == ("org.freedesktop.NetworkManager", "Metered")
                assert asked.header.fields[HeaderFields.path] == "/org/freedesktop/NetworkManager"
                if value is None:
                    reply = new_error(asked, "org.freedesktop.DBus.Error.Failed")
                else:
                    reply = new_method_return(asked, "v", (("u", value),))
                connection.send(reply)
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("value", "said"), [(0, None), (1, True), (2, False), (3, True), (4, False), (None, None)]
)
def test_networkmanager_is_asked_on_the_systems_bus(bus: str, value: object, said: object) -> None:
    serving = network_manager(bus, value)
    assert metered() is said
    serving.join(5)


def test_nobody_on_the_bus_and_no_bus_at_all_are_not_known(
    bus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert metered() is None
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    assert metered() is None
