"""The slow, the huge and the many at the gateway (threat rows 24, 25); tokens in no log (16)."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from houses import EVENT, JSON, UPGRADE, House, head, knock, running, status_of, until

from agent.adapters.local.gateway_protocol import NOTHING_HERE
from agent.adapters.machine.logs import begin
from agent.door.gateway import NewToken
from tracking.events import Limits

SHORT = {"header_s": 0.3, "body_s": 0.3, "idle_s": 0.6}
MIB = 1024 * 1024


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[House]:
    """A gateway with short deadlines, small limits and room for twenty connections."""
    limits = Limits(frame_bytes=MIB, body_bytes=MIB)
    yield from running(tmp_path / "gateway.json", deadlines=SHORT, limits=limits, connections=20)


def _ours(token: NewToken) -> dict[str, str]:
    return {"Host": f"127.0.0.1:{token.port}"}


def _target(token: NewToken) -> str:
    return f"/t/{token.token}/app/acme/track"


def _served(token: NewToken) -> bool:
    return (
        status_of(knock(token.port, head("POST", _target(token), _ours(token) | JSON, EVENT)))
        == 200
    )


def _until_closed(sock: socket.socket, within_s: float) -> bytes:
    sock.settimeout(within_s)
    answer = b""
    while part := sock.recv(65536):
        answer += part
    return answer


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"", b""),
        (b"P", NOTHING_HERE),
        (b"POST /t/", NOTHING_HERE),
        (b"POST /t/wrong/app/acme/track HTTP/1.1\r\nHost: x\r\n", NOTHING_HERE),
        (b"\x16\x03\x01", NOTHING_HERE),
    ],
    ids=["nothing", "a letter", "half a path", "half a header", "half a TLS hello"],
)
def test_row_24_who_stops_before_being_let_in_hears_the_same_and_is_closed(
    begun: bytes, answer: bytes, hasty: House
) -> None:
    token = hasty.give()
    with socket.create_connection(("127.0.0.1", token.port), 5) as sock:
        sock.sendall(begun)
        began = time.monotonic()
        assert _until_closed(sock, 5) == answer
        assert time.monotonic() - began < 3
    assert _served(token)


def test_row_24_a_drip_of_a_header_ends_at_its_deadline(hasty: House) -> None:
    token = hasty.give()
    with socket.create_connection(("127.0.0.1", token.port), 5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        began = time.monotonic()
        with contextlib.suppress(OSError):  # reset or broken pipe, as it falls
            while time.monotonic() - began < 5:
                sock.sendall(b"x")
                time.sleep(0.05)  # the attack, not a wait
        assert time.monotonic() - began < 3
    assert _served(token)


def test_row_24_a_body_that_does_not_come_is_closed(hasty: House) -> None:
    token = hasty.give()
    with socket.create_connection(("127.0.0.1", token.port), 5) as sock:
        headers = _ours(token) | JSON | {"Content-Length": "1000"}
        sock.sendall(head("POST", _target(token), headers) + b'{"data":[')
        assert _until_closed(sock, 3).startswith(b"HTTP/1.1 408")
    assert hasty.kept.rows == 0
    assert _served(token)


def test_row_24_huge_bodies_and_frames_are_refused_in_little_memory(hasty: House) -> None:
    token = hasty.give()
    process = psutil.Process()
    before = process.memory_info().rss
    headers = _ours(token) | JSON | {"Content-Length": str(400 * MIB)}
    answer = knock(token.port, head("POST", _target(token), headers))
    assert status_of(answer) == 413
    for length in (b"\xff" + b"\xff" * 8, b"\xff" + (2**32 - 1).to_bytes(8, "big")):
        with socket.create_connection(("127.0.0.1", token.port), 5) as sock:
            sock.sendall(head("GET", _target(token), _ours(token) | UPGRADE))
            assert sock.recv(65536).startswith(b"HTTP/1.1 101")
            sock.sendall(b"\x81" + length + b"mask" + b"x" * 1000)
            assert _until_closed(sock, 3)[:1] == b"\x88"
    with socket.create_connection(("127.0.0.1", token.port), 5) as sock:  # and half a frame
        sock.sendall(head("GET", _target(token), _ours(token) | UPGRADE))
        assert sock.recv(65536).startswith(b"HTTP/1.1 101")
        sock.sendall(b"\x81\xfe\x10\x00mask" + b"x" * 100)
        assert _until_closed(sock, 3)[:1] == b"\x88"
    assert process.memory_info().rss - before < 20 * MIB
    assert hasty.kept.rows == 0
    assert _served(token)


def test_row_25_a_flood_leaves_room_when_it_goes(hasty: House) -> None:
    token = hasty.give()
    flood = [socket.create_connection(("127.0.0.1", token.port), 5) for _ in range(200)]
    until(lambda: hasty.connections() <= 20)
    assert hasty.connections() <= 20

    def served_again() -> bool:
        with contextlib.suppress(OSError, IndexError):  # turned away: there is no room yet
            return _served(token)
        return False

    until(served_again)  # none of the others said anything in time
    for sock in flood:
        sock.close()


def test_row_25_who_has_no_token_takes_nobodys_place(house: House) -> None:
    token = house.give()
    with socket.create_connection(("127.0.0.1", token.port), 5) as inside:
        inside.sendall(head("GET", _target(token), _ours(token) | UPGRADE))
        assert inside.recv(65536).startswith(b"HTTP/1.1 101")
        flood = [socket.create_connection(("127.0.0.1", token.port), 5) for _ in range(200)]
        until(lambda: house.connections() <= 33)
        assert _served(token)  # while all of the rest is still there
        assert house.connections() > 20
        inside.settimeout(0.1)
        with pytest.raises(TimeoutError):
            inside.recv(1)
    for sock in flood:
        sock.close()


def test_row_24_blank_lines_are_no_header(hasty: House) -> None:
    token = hasty.give()
    with socket.create_connection(("127.0.0.1", token.port), 5) as sock:
        sock.sendall(b"\r\n\r\n")
        began = time.monotonic()
        assert _until_closed(sock, 5) == NOTHING_HERE
        assert time.monotonic() - began < 3


def test_row_25_an_app_that_has_every_place_gives_one_up_when_it_is_idle(tmp_path: Path) -> None:
    house = House(tmp_path / "gateway.json", connections=4)
    try:
        own, other = house.give("acme"), house.give("acme-notes")
        target = f"/t/{other.token}/app/acme-notes/track"
        request = head("POST", target, _ours(own) | JSON, EVENT)
        with contextlib.ExitStack() as stack:
            held = []
            for _ in range(4):  # each in the middle of a body: nobody may end that
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", own.port), 5))
                headers = _ours(own) | JSON | {"Content-Length": str(len(EVENT))}
                sock.sendall(head("POST", _target(own), headers) + EVENT[:10])
                held.append(sock)
            until(lambda: len(house.gateway._listener.places.seated) == 4)
            answer = knock(own.port, request)
            assert status_of(answer) == 503
            assert b"too many connections are open" in answer
            for sock in held:
                sock.sendall(EVENT[10:])
                assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            until(lambda: status_of(knock(own.port, request)) == 200)
    finally:
        house.close()


def test_row_16_no_token_is_in_any_log_line(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Driven through every route and every refusal, with all of the program's log on."""
    caplog.set_level(logging.DEBUG)
    root = logging.getLogger()
    for name in ("tracking.serving.uvicorn", "uvicorn", "uvicorn.error", "asyncio", "websockets"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    (tmp_path / "logs").mkdir()
    mine = list(root.handlers)
    begin(tmp_path / "logs", "debug", on_stderr=False)
    try:
        token = house.give("acme", "tauri://localhost")
        wrong = secrets.token_urlsafe(32)
        house.kept.fault = RuntimeError("a mistake of ours")  # type: ignore[assignment]
        for text in (token.token, wrong):
            for method, rest in (
                ("POST", "app/acme/track"),
                ("POST", "app/other/track"),
                ("GET", "app/acme/customdata"),
                ("POST", "k/event"),
                ("POST", "bulk"),
                ("GET", "features"),
                ("GET", "nothing"),
                ("OPTIONS", "bulk"),
            ):
                target = f"/t/{text}/{rest}"
                knock(
                    token.port,
                    head(method, target, _ours(token) | JSON, EVENT * (method == "POST")),
                )
            target = f"/t/{text}/app/acme/track"
            knock(token.port, head("GET", target, _ours(token) | UPGRADE))
            knock(token.port, head("GET", target + "?" + "x" * 70_000, _ours(token)))
            logging.getLogger("agent.any").info("somebody wrote a path path=%s", target)
        house.revoke()
    finally:
        for handler in set(root.handlers) - set(mine):
            root.removeHandler(handler)
            handler.close()
    file = (tmp_path / "logs" / "agent.log").read_text()
    assert "a mistake of ours" in file  # the traceback is there, without the path
    assert "path=/t/***/app/acme/track" in file
    for text in (token.token, wrong):
        assert text not in file
        assert text[8:] not in file
    ours = [r for r in caplog.records if not r.name.startswith("agent.any")]
    told = "\n".join(f"{record.getMessage()} {record.args} {record.exc_text}" for record in ours)
    assert token.token not in told
    assert token.prefix not in told
    caplog.clear()
