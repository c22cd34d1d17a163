"""A whole desktop for one test: a display, a session bus, a tray; all of it private.

``Screen`` is a real X server without a screen, ``Bus`` a session bus of its own, ``TrayHost`` a
StatusNotifier tray and a notification daemon that speak D-Bus only and do what the test says:
come late, go away, come back. ``Program`` is what runs on that desktop. Everything is started
here and ended here, by its own process id.

The D-Bus interfaces: freedesktop.org "StatusNotifierItem" and "Desktop Notifications
Specification" 1.2, and ``com.canonical.dbusmenu``.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    message_bus,
    new_error,
    new_method_call,
    new_method_return,
    new_signal,
)
from jeepney.io.blocking import DBusConnection, open_dbus_connection

WATCHER = "org.kde.StatusNotifierWatcher"
NOTIFICATIONS = "org.freedesktop.Notifications"
PROPERTIES = "org.freedesktop.DBus.Properties"
ITEM = "org.kde.StatusNotifierItem"
MENU = "com.canonical.dbusmenu"

DEADLINE_S = 15.0


def eventually(what: str, question: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Ask until the answer is true; return it, or fail with what was waited for."""
    end = time.monotonic() + deadline_s
    while not (answer := question()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s for: {what}")
        time.sleep(0.03)  # between questions to another process, which sends no signal
    return answer


class Desktop:
    """An environment and the processes in it.

    Attributes:
        env: For every program on this desktop.
        folder: Private XDG folders, logs.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[Any]] = []
        self._closers: list[Callable[[], None]] = []
        keep = ("PATH", "HOMING_HOME", "HOME", "LANG")
        self.env = {name: os.environ[name] for name in keep if name in os.environ}
        for name in ("RUNTIME_DIR", "CONFIG_HOME", "CACHE_HOME", "DATA_HOME", "STATE_HOME"):
            place = folder / name.lower()
            place.mkdir(mode=0o700, parents=True)
            self.env[f"XDG_{name}"] = str(place)
        self.env |= {"NO_AT_BRIDGE": "1", "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}

    def start_screen(self, size: str = "1280x900x24") -> None:
        """Start an X server and name it in ``DISPLAY``."""
        read, write = os.pipe()
        server = ["Xvfb", "-displayfd", str(write), "-screen", "0", size]
        self.spawn([*server, "-noreset", "-nolisten", "tcp"], pass_fds=(write,))
        os.close(write)
        with os.fdopen(read) as told:
            ready, _, _ = select.select([told], [], [], DEADLINE_S)
            assert ready, "Xvfb did not start"
            self.env["DISPLAY"] = f":{told.readline().strip()}"
        self.env["QT_QPA_PLATFORM"] = "xcb"

    def start_bus(self) -> None:
        """Start a session bus and name it in ``DBUS_SESSION_BUS_ADDRESS``."""
        socket = self.folder / "runtime_dir" / "bus"
        address = f"unix:path={socket}"
        self.spawn(["dbus-daemon", "--session", "--nofork", f"--address={address}"])
        eventually("the session bus", socket.exists)
        self.env["DBUS_SESSION_BUS_ADDRESS"] = address

    def start_window_manager(self) -> None:
        """Start openbox and wait until it manages windows."""
        self.spawn(["openbox"])
        probe = ["xprop", "-root", "_NET_SUPPORTING_WM_CHECK"]
        eventually("the window manager", lambda: "window id" in self.ask(probe))

    def start_trayer(self) -> subprocess.Popen[Any]:
        """Start an XEmbed tray at the top right."""
        return self.spawn(
            [
                "trayer",
                "--edge",
                "top",
                "--align",
                "right",
                "--widthtype",
                "request",
                "--height",
                "26",
            ]
        )

    def tray(self) -> TrayHost:
        """Let a StatusNotifier tray appear."""
        host = TrayHost(self.env["DBUS_SESSION_BUS_ADDRESS"])
        self._closers.append(host.go)
        return host.come()

    def item(self, tray: TrayHost) -> TrayItem:
        """Return the icon in that tray, once there is one."""
        newest = eventually("an icon in the tray", lambda: tray.items)[-1]
        item = TrayItem(tray.address, newest)
        self._closers.append(item.close)
        return item

    def spawn(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on this desktop; it is ended with the desktop."""
        log = (self.folder / "desktop.log").open("ab")
        options = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL} | options
        process = subprocess.Popen(command, env=self.env, **options)
        log.close()
        self._processes.append(process)
        return process

    def ask(self, command: Sequence[str]) -> str:
        """Run a program to its end and return what it said."""
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        return done.stdout

    def windows(self, title: str) -> list[str]:
        """Return the ids of the visible windows with this title."""
        return self.ask(["xdotool", "search", "--onlyvisible", "--name", f"^{title}$"]).split()

    def close(self) -> None:
        """End what was started here, the last first."""
        for close in reversed(self._closers):
            close()
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


class Program:
    """A program that tells JSON lines on its output and takes them on its input."""

    def __init__(self, desktop: Desktop, command: Sequence[str]) -> None:
        self.process = desktop.spawn(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.told: list[list[Any]] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def say(self, *words: Any) -> None:
        """Give the program a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def hear(self, *beginning: Any) -> list[Any]:
        """Wait for a line that begins so; earlier ones count."""

        def found() -> list[Any] | None:
            while not self._lines.empty():
                self.told.append(json.loads(self._lines.get()))
            return next((t for t in self.told if t[: len(beginning)] == list(beginning)), None)

        line: list[Any] = eventually(f"the program to say {beginning}", found)
        return line


class TrayHost(threading.Thread):
    """A StatusNotifier host and a notification daemon on a session bus.

    Attributes:
        items: Registered items, as ``(bus name, path)``.
        notes: Notifications, as their ``Notify`` arguments.

    """

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.items: list[tuple[str, str]] = []
        self.notes: list[tuple[Any, ...]] = []
        self._bus = open_dbus_connection(address)
        self._ended = threading.Event()

    def come(self) -> TrayHost:
        """Own the names and begin to answer."""
        # The watcher's name last: icons register the moment it is owned, and what arrives while
        # a reply is waited for would be dropped.
        for name in (NOTIFICATIONS, WATCHER):
            self._bus.send_and_get_reply(message_bus.RequestName(name), timeout=5)
        self.start()
        return self

    def go(self) -> None:
        """Disappear as a panel does that crashed: its connection closes."""
        self._ended.set()
        if self.is_alive():
            self.join(5)
        self._bus.close()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                message = self._bus.receive(timeout=0.1)
            except TimeoutError:
                continue
            if message.header.message_type is MessageType.method_call:
                self._bus.send(self._answer(message))

    def _answer(self, message: Message) -> Message:
        fields = message.header.fields
        interface = fields.get(HeaderFields.interface)
        member, sender = fields[HeaderFields.member], fields[HeaderFields.sender]
        facts: dict[str, tuple[str, Any]] = {
            "RegisteredStatusNotifierItems": ("as", [bus + path for bus, path in self.items]),
            "IsStatusNotifierHostRegistered": ("b", True),
            "ProtocolVersion": ("i", 0),
        }
        match interface, member:
            case _, "RegisterStatusNotifierItem":
                named = message.body[0]
                path = named if named.startswith("/") else "/StatusNotifierItem"
                self.items.append((sender if named.startswith("/") else named, path))
                where = DBusAddress("/StatusNotifierWatcher", interface=WATCHER)
                told = ("".join(self.items[-1]),)
                self._bus.send(new_signal(where, "StatusNotifierItemRegistered", "s", told))
                return new_method_return(message)
            case _, "RegisterStatusNotifierHost":
                return new_method_return(message)
            case "org.freedesktop.DBus.Properties", "Get" if message.body[0] == WATCHER:
                return new_method_return(message, "v", (facts[message.body[1]],))
            case "org.freedesktop.DBus.Properties", "GetAll" if message.body[0] == WATCHER:
                return new_method_return(message, "a{sv}", (facts,))
            case "org.freedesktop.Notifications", "Notify":
                self.notes.append(message.body)
                return new_method_return(message, "u", (len(self.notes),))
            case "org.freedesktop.Notifications", "GetCapabilities":
                return new_method_return(message, "as", (["body", "body-markup"],))
            case "org.freedesktop.Notifications", "GetServerInformation":
                return new_method_return(message, "ssss", ("test", "test", "1", "1.2"))
            case "org.freedesktop.Notifications", "CloseNotification":
                return new_method_return(message)
        unknown = "org.freedesktop.DBus.Error.UnknownMethod"
        return new_error(message, unknown, "s", (f"{interface}.{member}",))


class TrayItem:
    """One icon in the tray, as a panel sees it."""

    def __init__(self, address: str, item: tuple[str, str]) -> None:
        self.bus_name, self.path = item
        self._bus: DBusConnection = open_dbus_connection(address)

    def close(self) -> None:
        self._bus.close()

    def _call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
    ) -> tuple[Any, ...]:
        where = DBusAddress(path, self.bus_name, interface)
        asked = new_method_call(where, member, signature or None, body)
        answer = self._bus.send_and_get_reply(asked, timeout=5)
        assert answer.header.message_type is MessageType.method_return, answer.body
        said: tuple[Any, ...] = answer.body
        return said

    def facts(self) -> dict[str, Any]:
        """Return the item's properties: ``Id``, ``Status``, ``ToolTip``, ``IconPixmap``…"""
        (facts,) = self._call(self.path, PROPERTIES, "GetAll", "s", (ITEM,))
        return {name: value[1] for name, value in facts.items()}

    def activate(self) -> None:
        """Click the icon."""
        self._call(self.path, ITEM, "Activate", "ii", (10, 10))

    def entries(self) -> dict[str, tuple[int, dict[str, Any]]]:
        """Return the menu's visible entries with those of its submenus, by label."""
        path = self.facts()["Menu"]
        _revision, root = self._call(path, MENU, "GetLayout", "iias", (0, -1, []))
        found: dict[str, tuple[int, dict[str, Any]]] = {}

        def walk(node: tuple[int, dict[str, Any], list[Any]]) -> None:
            for _signature, child in node[2]:
                facts = {name: value[1] for name, value in child[1].items()}
                if facts.get("visible", True):
                    found[facts.get("label", "").replace("_", "")] = (child[0], facts)
                    walk(child)

        walk(root)
        return found

    def choose(self, label: str) -> None:
        """Click a menu entry."""
        number, _facts = self.entries()[label]
        path = self.facts()["Menu"]
        self._call(path, MENU, "Event", "isvu", (number, "clicked", ("i", 0), 0))


@contextmanager
def desktop(folder: Path) -> Iterator[Desktop]:
    """Give a private desktop with a display and a bus, and clear it away."""
    place = Desktop(folder)
    try:
        place.start_bus()
        place.start_screen()
        yield place
    finally:
        place.close()
