"""One HTTP/1.1 connection to a far end, over a road of ours: one question, one answer, again.

h11 knows the grammar and does no I/O; the socket comes from
:func:`agent.adapters.roads.road.open_road` (proxied, proven, not blocking) and every wait is
:class:`~agent.adapters.roads.patience.Patience`'s. No library that opens sockets itself is used: it
would find proxies, trust and redirects of its own.

Invariants:
    1. One deadline covers a question and its answer, however the far end cuts its bytes.
    2. Of an answer at most ``HEAD_BYTES`` of head, ``BODY_BYTES`` of body, ``RAW_BYTES`` in all
       and ``INFORMATIONAL`` interim answers are read; a longer body is cut off and said to be.
    3. Nothing is followed, decoded or kept: no redirect, no content coding, no cookie.
    4. An answer counts only if it is whole, or if it is the cap of ours that cut it. A far end
       that hung up in the middle of its answer has not answered.
    5. A connection is used again only if both sides may, and nothing was said on it meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import h11

from agent.adapters.roads.patience import Patience, ready_of, receive, send_all, words
from agent.rules.endpoints import Address
from tracking.errors import Unreachable

HEAD_BYTES = 16 * 1024
BODY_BYTES = 256 * 1024
RAW_BYTES = 1024 * 1024  #: With heads, chunk sizes and trailers; a body in tiny chunks is larger.
INFORMATIONAL = 8  #: Interim answers (1xx) before the answer.
READ_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Question:
    """One POST of JSON.

    Attributes:
        path: After the address's own path; begins with a slash and is never shown if it holds a
            key.
        body: The JSON.
        headers: Beside those that every question has. Values may be secret.

    """

    path: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: 200 to 599.
        body: At most ``BODY_BYTES`` of it; empty if it came in a coding that nobody asked for.
        content_type: Lower case, without parameters; empty if not said.
        retry_after: The header of that name, None if there was none.
        whole: False if the body was longer than the cap.

    """

    status: int
    body: bytes = b""
    content_type: str = ""
    retry_after: str | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Passed:
    """Something that passed over the connection, whole: for the record of the wire.

    Attributes:
        question: Which it is, or which it answers.
        direction: ``sent`` is said as soon as it was written, whatever becomes of it.
        head: Method and path, or status and content type. May hold a key, as ``text`` may.
        text: Head and body; of an answer without interim answers, chunk sizes and trailers.
        size: Bytes on the wire, all of them.
        peer: Who proved to be there.

    """

    question: Question
    direction: Literal["sent", "received"]
    head: str
    text: bytes = field(repr=False)
    size: int
    peer: str


def unheard(passed: Passed) -> None:
    """Tell nobody what passed."""
    del passed


class Stale(Exception):
    """The far end had closed a connection that was kept open: nothing of the question was heard.

    Not a fault: asked again on a new connection, once, without any wait.
    """


class HttpWire:
    """A connection that was opened for HTTP.

    Args:
        address: Where it leads.
        sock: Connected, not blocking; owned from now on.
        agent: For ``User-Agent``.
        note: Hears what passes.

    Attributes:
        peer: Who proved to be there: address, TLS version and the certificate's fingerprint.
        sent_bytes: Bodies handed to the kernel; whoever counts them sets this to 0.
        received_bytes: Bodies received, likewise.

    """

    def __init__(
        self,
        address: Address,
        sock: socket.socket,
        agent: str,
        note: Callable[[Passed], None] = unheard,
    ) -> None:
        self.address = address
        self.sock = sock
        self.peer = peer_of(sock)
        self.sent_bytes = 0
        self.received_bytes = 0
        self._agent = agent
        self._note = note
        self._asked = 0
        self._grammar = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self.sock.fileno() < 0

    def usable(self) -> bool:
        """Tell whether another question may be asked (invariant 5)."""
        if self._grammar.our_state is not h11.IDLE or self._grammar.their_state is not h11.IDLE:
            return False
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return False
        return not ready_of([self.sock], [], 0)

    def ask(self, question: Question, patience: Patience) -> Answer:
        """Ask one question and return its whole answer; the connection is usable again or closed.

        Raises:
            Stale: It was used before, and ended without a word.
            Unreachable: No answer that could be understood, in time.
            Abandoned: Nobody wants the answer any more.

        """
        before, self._asked = self._asked, self._asked + 1
        heard = _Heard()
        try:
            answer = self._exchange(question, patience, heard)
        except (h11.RemoteProtocolError, OSError, Unreachable) as exc:
            self.close()
            if before and not heard.raw_bytes and (heard.end or isinstance(exc, OSError)):
                raise Stale("the far end had closed the connection") from exc
            if isinstance(exc, h11.RemoteProtocolError):
                raise Unreachable(_broken(exc)) from exc
            raise
        except BaseException:
            self.close()
            raise
        if self._grammar.our_state is h11.DONE and self._grammar.their_state is h11.DONE:
            if self._grammar.trailing_data[0]:
                self.close()  # it said more than it announced: who knows to whom
            else:
                self._grammar.start_next_cycle()
        else:
            self.close()
        return answer

    def _exchange(self, question: Question, patience: Patience, heard: _Heard) -> Answer:
        patience.doing = "sending"
        asked = self._head(question)
        wires = (
            self._grammar.send(asked),
            self._grammar.send(h11.Data(data=question.body)),
            self._grammar.send(h11.EndOfMessage()),
        )
        text = b"".join(wire or b"" for wire in wires)
        try:
            send_all(self.sock, text, patience)
            self.sent_bytes += len(question.body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it stopped reading: a body that is too large
        finally:  # a part of it has left, too
            line = (asked.method + b" " + asked.target).decode("latin-1")
            self._note(Passed(question, "sent", line, text, len(text), self.peer))
        patience.doing = "the far end's answer"
        head: h11.Response | None = None
        body: list[bytes] = []
        size = informational = 0
        while True:
            match self._next(patience, heard):
                case h11.InformationalResponse():
                    informational += 1
                    if informational > INFORMATIONAL:
                        raise Unreachable("the far end says 1xx without end")
                case h11.Response() as head:
                    pass
                case h11.Data(data=data):
                    body.append(bytes(data))
                    size += len(data)
                    if size > BODY_BYTES or heard.raw_bytes > RAW_BYTES:
                        self.received_bytes += BODY_BYTES
                        assert head is not None
                        cut = b"".join(body)[:BODY_BYTES]
                        return self._told(question, head, _answer(head, cut, whole=False), heard)
                case h11.EndOfMessage() if head is not None:
                    self.received_bytes += size
                    whole = _answer(head, b"".join(body), whole=True)
                    return self._told(question, head, whole, heard)
                case _:
                    raise Unreachable("the far end broke off in its answer")

    def _told(
        self, question: Question, head: h11.Response, answer: Answer, heard: _Heard
    ) -> Answer:
        """Note an answer, and return it."""
        lines = [b"HTTP/%b %d %b" % (head.http_version, head.status_code, head.reason)]
        lines += [b"%b: %b" % (name, value) for name, value in head.headers.raw_items()]
        text = b"\r\n".join((*lines, b"", answer.body))
        line = f"{answer.status} {answer.content_type}".rstrip()
        self._note(Passed(question, "received", line, text, heard.raw_bytes, self.peer))
        return answer

    def _next(self, patience: Patience, heard: _Heard) -> h11.Event:
        """Return the next thing that the far end says."""
        while True:
            event = self._grammar.next_event()
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type)  # PAUSED comes after the answer's end only
                return event
            if heard.raw_bytes > RAW_BYTES:
                raise Unreachable("the far end's answer has no end")
            data = receive(self.sock, READ_BYTES, patience)
            heard.raw_bytes += len(data)
            heard.end = not data
            if heard.end and not heard.raw_bytes:
                raise Unreachable("the far end hung up without a word")
            self._grammar.receive_data(data)

    def _head(self, question: Question) -> h11.Request:
        return h11.Request(
            method="POST",
            target=f"{self.address.path}{question.path}",
            headers=[
                ("Host", self.address.authority),
                ("User-Agent", self._agent),
                ("Accept", "application/json"),
                ("Accept-Encoding", "identity"),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(question.body))),
                *question.headers,
            ],
        )

    def close(self) -> None:
        """End the connection."""
        self._grammar.send_failed()
        with contextlib.suppress(OSError):
            self.sock.close()


@dataclass(slots=True)
class _Heard:
    raw_bytes: int = 0
    end: bool = False  # it closed


def _answer(head: h11.Response, body: bytes, *, whole: bool) -> Answer:
    named = {bytes(key): bytes(value).decode("latin-1") for key, value in head.headers}
    if named.get(b"content-encoding", "identity").strip().lower() != "identity":
        body = b""
    return Answer(
        status=head.status_code,
        body=body,
        content_type=named.get(b"content-type", "").partition(";")[0].strip().lower(),
        retry_after=named.get(b"retry-after"),
        whole=whole,
    )


def _broken(exc: h11.RemoteProtocolError) -> str:
    if exc.error_status_hint == 431:
        return "the far end's answer has no end; it does not speak HTTP"
    return f"the far end breaks the HTTP protocol: {words(str(exc))}"


def peer_of(sock: socket.socket) -> str:
    """Return who is at the other end, as far as it has proved it.

    ``127.0.0.1:80, no TLS``, or the certificate's names and the beginning of its fingerprint:
    ``192.0.2.7:443, TLSv1.3, CN=far.example by CN=Some Authority, sha256:0a1b…`` (16 digits).
    """
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return ""
    if not isinstance(sock, ssl.SSLSocket):
        return f"{host}:{port}, no TLS"
    der, said = sock.getpeercert(binary_form=True) or b"", sock.getpeercert() or {}
    names = " by ".join(filter(None, (_name(said.get(of)) for of in ("subject", "issuer"))))
    seal = f"sha256:{hashlib.sha256(der).hexdigest()[:16]}"
    return words(", ".join(filter(None, (f"{host}:{port}", sock.version(), names, seal))))


def _name(said: Any) -> str:
    """Return the common name, or the organisation, of one side of a certificate."""
    named = dict(pair for part in said or () for pair in part)
    for key, short in (("commonName", "CN"), ("organizationName", "O")):
        if key in named:
            return f"{short}={named[key]}"
    return ""
