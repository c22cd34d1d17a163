"""Far ends of every temper, on real sockets, and someone who listens to the link.

Test equipment of this room. :class:`FarEnd` speaks the protocol through the ``websockets``
library; :class:`RawFarEnd` is a bare socket that does exactly what a test tells it to.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import ipaddress
import json
import logging
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.sync.server import Server, ServerConnection

from agent.adapters.links.websocket_link import Died, WebSocketLink
from agent.adapters.roads.patience import ready_of
from agent.rules.endpoints import endpoint_url
from agent.rules.link import (
    Dial,
    Drained,
    HangUp,
    Lease,
    Leased,
    LinkRule,
    Notice,
    Offered,
    Order,
    Release,
    Remember,
    SendHeartbeat,
    Settle,
    Start,
    Tick,
)

Behaviour = Callable[[socket.socket], None]


# --- listening to a link -----------------------------------------------------------------------


class Listener:
    """A link with short deadlines whose notices can be waited for."""

    def __init__(self, **limits: Any) -> None:
        self.notices: queue.Queue[Notice | Died] = queue.Queue()
        self.link = WebSocketLink("test", self.notices.put, **limits)
        self.dial = 0

    def connect(self, url: str) -> None:
        self.dial += 1
        self.link.dial(self.dial, url)

    def next(self, within_s: float = 5.0) -> Notice | Died:
        """Return the next notice."""
        notice = self.notices.get(timeout=within_s)
        if isinstance(notice, Died):
            raise notice
        return notice

    def wait(self, kind: type | tuple[type, ...], within_s: float = 5.0) -> Any:
        """Return the next notice of a kind, dropping others."""
        until = time.monotonic() + within_s
        while True:
            notice = self.next(max(0.01, until - time.monotonic()))
            if isinstance(notice, kind):
                return notice

    def silent(self, for_s: float = 0.15) -> bool:
        """Tell whether nothing is posted for a while."""
        try:
            self.notices.get(timeout=for_s)
        except queue.Empty:
            return True
        return False


class Courier:
    """The rule and a real link together, with a list for an outbox and the real clock."""

    def __init__(self, endpoint: str, events: int, **limits: Any) -> None:
        self.endpoint = endpoint
        self.notices: queue.Queue[Notice | Died] = queue.Queue()
        self.rule = LinkRule(rng=lambda: 0.0, **limits)
        self.link = WebSocketLink("courier", self.notices.put, dial_s=1.0)
        self.kept = [f"event-{n:04d}" for n in range(events)]
        self.flight: dict[int, set[str]] = {}
        self.batch = 0
        self.settled: list[str] = []
        self.dials: list[str] = []
        self.remembered: list[str] = []
        self.beats = 0

    def run_until(self, done: Callable[[], bool], within_s: float = 8.0) -> None:
        """Feed the rule what happens until ``done``, failing after ``within_s``."""
        until = time.monotonic() + within_s
        while not done():
            now = time.monotonic()
            assert now < until, f"not done in {within_s} s: {self.rule}"
            ticks_at = min(until, self.rule.deadline if self.rule.deadline is not None else until)
            try:
                notice = self.notices.get(timeout=max(0.001, ticks_at - now))
            except queue.Empty:
                notice = Tick()
            if isinstance(notice, Died):
                raise notice
            self.feed(notice)

    def start(self) -> Courier:
        self.feed(Start())
        return self

    def offer(self, count: int) -> None:
        first = len(self.kept) + len(self.settled)
        self.kept += [f"event-{first + n:04d}" for n in range(count)]
        self.feed(Offered())

    def feed(self, notice: Notice) -> None:
        self.obey(self.rule.feed(notice, time.monotonic()))

    def obey(self, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case Dial(dial=dial, form=form):
                    self.dials.append(form)
                    self.link.dial(dial, endpoint_url(self.endpoint, "acme", form))
                case HangUp(dial=dial):
                    self.link.hang_up(dial)
                case SendHeartbeat(dial=dial):
                    self.beats += 1
                    self.link.heartbeat(dial, b'{"data":[{"type":"heartbeat"}]}')
                case Lease(dial=dial):
                    self.lend(dial)
                case Settle(batch=batch, ids=ids):
                    self.flight[batch] -= ids
                    self.settled += sorted(ids)
                    self.kept = [one for one in self.kept if one not in ids]
                case Release():
                    self.flight.clear()
                case Remember(form=form):
                    self.remembered.append(form)

    def lend(self, dial: int) -> None:
        lent = set().union(*self.flight.values())
        ids = [one for one in self.kept if one not in lent][:5]
        if not ids:
            self.obey(self.rule.feed(Drained(), time.monotonic()))
            return
        self.batch += 1
        self.flight[self.batch] = set(ids)
        self.link.send(dial, json.dumps({"data": [{"id": one} for one in ids]}).encode())
        self.obey(self.rule.feed(Leased(self.batch, frozenset(ids)), time.monotonic()))


# --- far ends ----------------------------------------------------------------------------------


@dataclass
class FarEnd:
    """A WebSocket server that keeps what it saw."""

    server: Server
    frames: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.socket.getsockname()[1])

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def ids(self) -> list[Any]:
        return [e["id"] for frame in self.frames for e in frame["data"] if "id" in e]


def golden(far_end: FarEnd, ws: ServerConnection) -> None:
    """Acknowledge every id of every frame."""
    for text in ws:
        frame = json.loads(text)
        far_end.frames.append(frame)
        ws.send(json.dumps({"reportedIds": [e["id"] for e in frame["data"] if "id" in e]}))


class RawFarEnd:
    """A listening socket; each connection is given to ``behave`` on a thread of its own."""

    def __init__(self, behave: Behaviour, host: str = "127.0.0.1") -> None:
        self.accepted = 0
        self.heard: list[bytes] = []
        self._behave = behave
        self._open: list[socket.socket] = []
        self._listening = socket.create_server((host, 0))
        self.port = int(self._listening.getsockname()[1])
        self.url = f"ws://{host}:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        # the link hung up, or the test closed the socket: what it waits for
        with contextlib.suppress(OSError, ValueError):
            self._behave(sock)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for sock in self._open:
            sock.close()
        self._thread.join(2)


def read_request(sock: socket.socket) -> bytes:
    """Read an HTTP request's head."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        more = sock.recv(4096)
        if not more:
            raise OSError("hung up")
        heard += more
    return heard


def upgrade(sock: socket.socket, then: bytes = b"") -> bytes:
    """Answer a WebSocket handshake properly, with ``then`` in the same breath."""
    request = read_request(sock)
    key = next(
        line.split(b": ")[1]
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + then
    )
    return request


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True, length: int | None = None) -> bytes:
    """Build a server's frame; ``length`` may lie."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([size])
    elif size < 65536:
        head += b"\x7e" + struct.pack("!H", size)
    else:
        head += b"\x7f" + struct.pack("!Q", size)
    return head + payload


def hold(sock: socket.socket) -> None:
    """Read and say nothing until the other side ends."""
    while sock.recv(65536):
        pass


QUIET = logging.getLogger("far end of a test")
QUIET.propagate = False  # its complaints are what we provoke
QUIET.addHandler(logging.NullHandler())


def lay_through(sock: socket.socket, request: bytes) -> None:
    """Lay the road that a CONNECT asks for, to 127.0.0.1 whatever the name."""
    port = int(request.split(b" ")[1].rsplit(b":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as onward:
        sock.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        ends = {sock: onward, onward: sock}
        while True:
            for ready in ready_of(list(ends), [], 5):
                data = ready.recv(65536)
                if not data:
                    return
                ends[ready].sendall(data)


# --- certificates ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the test's own."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def server(
        self,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        *,
        days: tuple[int, int] = (-1, 30),
        self_signed: bool = False,
    ) -> ssl.SSLContext:
        """Return a server's context with a certificate for ``names``, valid between ``days``."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer, signer = self.certificate.subject, self.key
        if self_signed:
            issuer, signer = name_of(names[0]), key
        certificate = certificate_for(names, key, issuer, signer, days=days, authority=False)
        path = self.folder / f"server-{id(key)}.pem"
        path.write_bytes(_pem_key(key) + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def certificate_for(
    names: tuple[str, ...],
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    *,
    days: tuple[int, int],
    authority: bool,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    return (
        x509.CertificateBuilder()
        .subject_name(name_of(names[0]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
