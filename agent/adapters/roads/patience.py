"""Waiting for a stranger, within limits; and what his failures are called here.

Sockets here do not block. Whoever must wait for one does so through :class:`Patience`: one
deadline over all of it, however the stranger cuts his bytes, and a letter from our own side
ends it at once. The errors of sockets, resolvers and TLS are translated here, once.
"""

from __future__ import annotations

import contextlib
import errno
import re
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Literal

from tracking.errors import Fault, LinkFault, NoName, Silent, Unproven, Unreachable

HEAD_BYTES = 16 * 1024  #: Most that a proxy or a far end may say before its answer is complete.
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


class Abandoned(Exception):
    """Nobody wants this road any more. Not a fault: we gave up, not the world."""


#: Hears what is said on a road before there are frames: kind, direction, the bytes.
Note = Callable[[str, Literal["sent", "received"], bytes], None]


def unheard(kind: str, direction: str, said: bytes) -> None:
    """Tell nobody what is said."""
    del kind, direction, said


class Patience:
    """One deadline over many waits, which a letter may cut short.

    Args:
        seconds: From now until :class:`Unreachable`.
        wake: A socket that becomes readable when ``given_up`` may have changed.
        given_up: Asked whenever ``wake`` was readable.
        note: Hears what is said meanwhile, for the record of the wire.

    """

    def __init__(
        self,
        seconds: float,
        wake: socket.socket | None = None,
        given_up: Callable[[], bool] = lambda: False,
        note: Note = unheard,
    ) -> None:
        self.note = note
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self.wake = wake
        self.given_up = given_up
        self.doing = "connecting"  #: For the sentence when patience ends.

    def share(self, parts: int) -> Patience:
        """Return a patience that ends after an equal part of what is left of this one."""
        left_s = max(0.0, self.until - time.monotonic())
        if parts <= 1:
            return self
        return Patience(left_s / parts, self.wake, self.given_up, self.note)

    def wait(
        self, sock: socket.socket | None, *, write: bool = False, until: float | None = None
    ) -> None:
        """Return when ``sock`` may be read (or written), or when there was a letter.

        Args:
            sock: ``None`` waits for a letter only.
            write: Wait for room to write instead.
            until: An earlier end for this wait alone.

        Raises:
            Silent: The time is over.
            Abandoned: ``given_up`` said so.

        """
        until = self.until if until is None else min(until, self.until)
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise Silent(f"{self.doing} took longer than {self.seconds:g} s")
        reads = [s for s in (self.wake, None if write else sock) if s is not None]
        writes = [sock] if write and sock is not None else []
        ready = ready_of(reads, writes, left_s)
        if self.wake is not None and self.wake in ready:
            drain(self.wake)
        if self.given_up():
            raise Abandoned

    def first_of(self, sockets: list[socket.socket], until: float) -> set[socket.socket]:
        """Return those that may be written, as soon as one may, or none at ``until``.

        Raises:
            Silent: The time is over.
            Abandoned: ``given_up`` said so.

        """
        now = time.monotonic()
        if now >= self.until:
            raise Silent(f"{self.doing} took longer than {self.seconds:g} s")
        reads = [] if self.wake is None else [self.wake]
        ready = ready_of(reads, sockets, max(0.0, min(until, self.until) - now))
        if self.wake is not None and self.wake in ready:
            drain(self.wake)
        if self.given_up():
            raise Abandoned
        return ready - set(reads)


def ready_of(
    reads: list[socket.socket], writes: list[socket.socket], timeout_s: float | None
) -> set[socket.socket]:
    """Sleep until one of the sockets is ready; return those that are.

    ``poll`` where there is one: ``select`` raises ``ValueError`` for a descriptor over 1023,
    which a tray with many files open may well hand us.
    """
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        readable, writable, _ = select.select(reads, writes, [], timeout_s)
        return set(readable) | set(writable)
    poll = select.poll()
    wanted: dict[int, tuple[socket.socket, int]] = {}
    for sockets, event in ((reads, select.POLLIN), (writes, select.POLLOUT)):
        for sock in sockets:
            wanted[sock.fileno()] = (sock, wanted.get(sock.fileno(), (sock, 0))[1] | event)
    for descriptor, (_, events) in wanted.items():
        poll.register(descriptor, events)
    # poll counts whole milliseconds; rounding down would spin through the last one
    timeout_ms = None if timeout_s is None else max(0, int(timeout_s * 1000) + 1)
    return {wanted[descriptor][0] for descriptor, _ in poll.poll(timeout_ms)}


def drain(wake: socket.socket) -> None:
    """Empty a wake socket."""
    with contextlib.suppress(BlockingIOError):
        while wake.recv(4096):
            pass


def send_all(sock: socket.socket, data: bytes, patience: Patience) -> None:
    """Send all of ``data``."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except ssl.SSLWantReadError:
            patience.wait(sock)
        except (BlockingIOError, ssl.SSLWantWriteError):
            patience.wait(sock, write=True)


def receive(sock: socket.socket, size: int, patience: Patience) -> bytes:
    """Return at most ``size`` bytes, at least one; empty at the end."""
    while True:
        try:
            return sock.recv(size)
        except ssl.SSLWantWriteError:
            patience.wait(sock, write=True)
        except (BlockingIOError, ssl.SSLWantReadError):
            patience.wait(sock)


def read_head(sock: socket.socket, patience: Patience) -> tuple[bytes, bytes]:
    """Return the head of an HTTP answer with its empty line, and what came after it.

    Raises:
        Unreachable: It ends, or grows too long, before it is complete.

    """
    heard = b""
    while True:
        end = END_OF_HEAD.search(heard)
        if end:
            return heard[: end.end()], heard[end.end() :]
        if len(heard) > HEAD_BYTES:
            raise Unreachable("the far end's answer has no end; it does not speak HTTP")
        more = receive(sock, 4096, patience)
        if not more:
            raise Unreachable("the far end hung up before it answered")
        heard += more


def status_of(head: bytes) -> int:
    """Return the status of an HTTP answer, 0 if it is none."""
    match = STATUS.match(head)
    return int(match[1]) if match else 0


def words(said: str | bytes) -> str:
    """Make a stranger's words fit to show: one line, printable, at most 200 characters."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    text = " ".join(text[:1000].split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown[:200]


def as_fault(exc: Exception, where: str) -> Fault:
    """Translate what sockets, resolvers and TLS raise, once, at the border."""
    match exc:
        case LinkFault():
            return exc
        case ssl.SSLCertVerificationError():
            said = words(exc.verify_message or str(exc))
            why = WHY.get(exc.verify_code, "")
            return Unproven(f"{where} did not prove its name: {said}", why=why, advice=ADVICE[why])
        case ssl.SSLError(reason=str(reason)) if reason in OUTDATED:
            return Unproven(
                f"{where} speaks TLS too old to prove its name: {words(reason)}",
                why="protocol",
                advice=ADVICE["protocol"],
            )
        case ssl.SSLError():
            return Unreachable(f"{where} speaks no TLS with us: {words(exc.reason or str(exc))}")
        case socket.gaierror() | UnicodeError():
            return NoName(
                f"there is no {words(where)} in the names",
                advice="Is this computer offline? Check the address, and the resolver.",
            )
        case OSError():
            reason = SAID.get(exc.errno or 0) or words(exc.strerror or type(exc).__name__)
            return Unreachable(f"{reason} ({where})")
    raise exc  # not the network's doing: a bug keeps its own traceback


#: What OpenSSL's verification found (openssl-verification-options(1)), in four words of ours.
WHY = {9: "time", 10: "time", 62: "name", 64: "name"} | dict.fromkeys(
    (2, 18, 19, 20, 21), "authority"
)
ADVICE = {
    "name": "The certificate is for another name: check the address.",
    "time": "Check this computer's clock; else the far end's certificate has to be renewed.",
    "authority": "If your organisation inspects traffic, or the far end is your own, name the"
    " authority in link.ca_file.",
    "protocol": "The far end, or what inspects the traffic, has to speak TLS 1.2 or newer.",
    "": "If it is your own far end, name its authority in link.ca_file.",
}
OUTDATED = frozenset(
    (
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "NO_PROTOCOLS_AVAILABLE",
        "EE_KEY_TOO_SMALL",
        "DH_KEY_TOO_SMALL",
        "CA_MD_TOO_WEAK",
    )
)  #: Of OpenSSL's reasons.

SAID = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection closed",
    errno.EHOSTUNREACH: "no route",
    errno.ENETUNREACH: "no network",
    errno.ETIMEDOUT: "no answer",
    errno.EMFILE: "no file descriptors left",
    errno.ENFILE: "no file descriptors left",
}
