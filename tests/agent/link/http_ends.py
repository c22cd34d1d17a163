"""Asking far ends over HTTP, and far ends that answer as a test tells them."""

from __future__ import annotations

import json
import queue
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.adapters.links.http_link import Answered, HttpLink
from agent.adapters.links.http_wire import Question
from agent.adapters.links.websocket_link import Died
from agent.rules.endpoints import parse_address
from agent.rules.notices import Lost

SUCCESS = b'{"success":true}'


def response(
    body: bytes = SUCCESS, status: str = "200 OK", *headers: str, length: int | None = None
) -> bytes:
    """Return an answer; ``length`` may lie."""
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {size}"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + body


@dataclass
class Request:
    """One request as a far end read it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def read_question(sock: socket.socket) -> Request | None:
    """Read one request, None if the other side is done."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        more = sock.recv(65536)
        if not more:
            return None
        heard += more
    head, _, body = heard.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", "0")):
        body += sock.recv(65536)
    return Request(method, path, headers, body)


@dataclass
class Answers:
    """A far end that answers in turn what it was told to, the last one for ever.

    An answer is bytes, or a function of the request; ``None`` hangs up instead.
    """

    plan: list[bytes | Callable[[Request], bytes | None] | None]
    requests: list[Request] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    url: str = ""

    def __call__(self, sock: socket.socket) -> None:
        while (request := read_question(sock)) is not None:
            self.requests.append(request)
            self.at_s.append(time.monotonic())
            answer = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
            if callable(answer):
                answer = answer(request)
            if answer is None:
                sock.close()
                return
            sock.sendall(answer)
            if b"\r\nConnection: close\r\n" in answer:
                sock.close()
                return


class Asker:
    """A link with short deadlines whose answers can be waited for."""

    def __init__(self, url: str, **limits: Any) -> None:
        self.posted: queue.Queue[Answered | Lost | Died] = queue.Queue()
        self.address = parse_address(url, ("https", "http"))
        limits = {"dial_s": 3.0, "answer_s": 5.0} | limits
        self.link = HttpLink("test", self.posted.put, **limits)
        self.number = 0

    def ask(self, body: bytes = b"{}", path: str = "/bulk") -> None:
        self.number += 1
        question = Question(path, body, (("Idempotency-Key", "k"),))
        self.link.ask(self.number, self.address, lambda _: question)

    def next(self, within_s: float = 5.0) -> Answered | Lost:
        posted = self.posted.get(timeout=within_s)
        if isinstance(posted, Died):
            raise posted
        return posted

    def answered(self, body: bytes = b"{}") -> Answered:
        self.ask(body)
        posted = self.next()
        assert isinstance(posted, Answered), posted
        return posted

    def lost(self, body: bytes = b"{}") -> str:
        """Ask, and return the sentence that says why there is no answer."""
        self.ask(body)
        posted = self.next()
        assert isinstance(posted, Lost), posted
        return str(posted.fault)

    def silent(self, for_s: float = 0.15) -> bool:
        try:
            self.posted.get(timeout=for_s)
        except queue.Empty:
            return True
        return False
