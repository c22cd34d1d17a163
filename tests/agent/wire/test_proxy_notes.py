"""What a proxy is asked is in the record of the wire, and the password is not."""

from __future__ import annotations

import base64
import socket
import threading
from pathlib import Path

from agent.adapters.records.wire_log import Room, WireRing
from agent.adapters.roads.patience import Patience
from agent.adapters.roads.proxy_login import Login, lay_through
from agent.door.wire import ReadWire
from agent.rules.endpoints import parse_address
from agent.rules.proxies import Proxy
from agent.runtime.ways.wire_notes import WireNotes
from agent.runtime.wire import WireLog

PASSWORD = "cAnArY-0123456789"
ANSWERS = [
    b'HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm="office"\r\n\r\n',
    b"HTTP/1.1 200 OK\r\n\r\n",
]


def test_connect_is_noted_with_the_answer_and_without_the_password(tmp_path: Path) -> None:
    log = WireLog(WireRing(tmp_path / "wire", Room(1 << 20, 14, 1_000)))
    notes = WireNotes(log, "acme", "main", lambda: 1_795_225_140_000)
    ends, answers = [], list(ANSWERS)

    def dial() -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ends.append(theirs)

        def answer() -> None:
            theirs.recv(4096)
            theirs.send(answers.pop(0))

        threading.Thread(target=answer, daemon=True).start()
        return ours

    def note(kind: str, direction: object, said: bytes) -> None:
        notes.said(kind, "sent" if direction == "sent" else "received", said, "")

    sock = lay_through(
        Proxy("proxy.example", 3128),
        parse_address("wss://far.example"),
        Patience(10.0, note=note),
        dial=dial,
        login=lambda: Login("ada", PASSWORD),
        refused=lambda _: None,
    )
    for one in (sock, *ends):
        one.close()
    said = list(reversed(log.page(ReadWire()).entries))
    log.close()
    assert [(one.kind, one.direction) for one in said] == [
        ("proxy", "sent"),
        ("proxy", "received"),
    ] * 2
    assert said[0].head == "CONNECT far.example:443 HTTP/1.1"
    assert said[1].head == "HTTP/1.1 407 Who?"
    assert "Proxy-Authorization: Basic ***" in said[2].text
    secret = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    assert all(secret not in one.text and PASSWORD not in one.text for one in said)
