"""Network namespaces, and servers that stand in them: a listener, a resolver, an ear on the wire.

A namespace is held by a sleeping process and vanishes with it. Threads of the test enter it
(setns(2) is per thread), and a socket stays in the namespace where it was made.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import TypeVar

from benchmarks.processes import until

CLONE_NEWNET = 0x40000000
T = TypeVar("T")


class Namespace:
    """A network namespace, held by a process."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, 5, "no namespace")
        self.run("ip link set lo up")
        self.run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")

    def run(self, line: str) -> None:
        """Run a line of shell inside."""
        subprocess.run([*self.words, "sh", "-ec", line], check=True, timeout=20)

    @property
    def words(self) -> list[str]:
        """What to put before a command so that it runs inside."""
        return ["nsenter", "-t", str(self.holder.pid), "-n"]

    def enter(self) -> None:
        """Move the calling thread inside, for good."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{self.holder.pid}/ns/net") as handle:
            if libc.setns(handle.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    def do(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, called on a thread inside."""
        answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def inside() -> None:
            try:
                self.enter()
                answers.put((work(), None))
            except BaseException as exc:
                answers.put((None, exc))

        threading.Thread(target=inside, daemon=True).start()
        result, wrong = answers.get(timeout=20)
        if wrong is not None:
            raise wrong
        return result  # type: ignore[return-value]

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()


class Server:
    """A listening socket in a namespace; each connection gets a thread there."""

    def __init__(
        self, inside: Namespace, at: tuple[str, int], serve: Callable[[socket.socket], None]
    ) -> None:
        self.accepted = 0
        self._inside, self._serve = inside, serve
        self.listening = inside.do(lambda: socket.create_server(at, backlog=64))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        self._inside.enter()
        with contextlib.suppress(OSError, ValueError), sock:
            self._serve(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


class Resolver:
    """A DNS server that remembers every name it was asked for (RFC 1035)."""

    def __init__(self, inside: Namespace, at: str, names: dict[str, str]) -> None:
        self.names = names
        self.names6: dict[str, str] = {}
        self.asked: list[str] = []
        self.silent = False

        def open_socket() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((at, 53))
            return sock

        self._sock = inside.do(open_socket)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                ask, sender = self._sock.recvfrom(4096)
            except OSError:
                return
            if len(ask) < 17:  # closed
                return
            labels, at = [], 12
            while ask[at]:
                labels.append(ask[at + 1 : at + 1 + ask[at]].decode("ascii", "replace"))
                at += 1 + ask[at]
            name, (kind,) = ".".join(labels).lower(), struct.unpack("!H", ask[at + 1 : at + 3])
            self.asked.append(name)
            if self.silent:
                continue
            family, known = (
                (socket.AF_INET, self.names) if kind == 1 else (socket.AF_INET6, self.names6)
            )
            address = known.get(name) if kind in (1, 28) else None
            code = 0 if name in self.names else 3
            head = ask[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 1 if address else 0, 0, 0)
            answer = ask[12 : at + 5]
            if address:
                raw = socket.inet_pton(family, address)
                answer += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 1, len(raw)) + raw
            with contextlib.suppress(OSError):
                self._sock.sendto(head + answer, sender)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class Sniffer:
    """Every frame that arrives in ``world`` from ``home``, by protocol, address and port."""

    def __init__(self, inside: Namespace, card: str) -> None:
        self.seen: set[tuple[str, str, int]] = set()

        def open_socket() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            sock.bind((card, 0))
            return sock

        self._sock = inside.do(open_socket)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                frame, (_, _, kind, _, _) = self._sock.recvfrom(65535)
            except OSError:
                return
            if kind == socket.PACKET_OUTGOING:
                continue
            (ether,) = struct.unpack("!H", frame[12:14])
            if ether != 0x0800:
                self.seen.add((f"ether {ether:#06x}", "", 0))
                continue
            packet = frame[14:]
            ports = packet[(packet[0] & 15) * 4 :]
            protocol = {6: "tcp", 17: "udp"}.get(packet[9], f"ip {packet[9]}")
            port = struct.unpack("!H", ports[2:4])[0] if protocol in ("tcp", "udp") else 0
            self.seen.add((protocol, socket.inet_ntoa(packet[16:20]), port))

    def close(self) -> None:
        self._sock.close()
