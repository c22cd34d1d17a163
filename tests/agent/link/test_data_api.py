"""Questions to the Data API, and answers of every kind (rows 34, 37 and 44)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import pytest
from far_ends import Authority, RawFarEnd, hold, read_request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.adapters.links.data_api import DataApi, _Count, _Glance, _Rows, read_answer
from tracking.errors import (
    Fault,
    Refused,
    SecretFault,
    SettingsFault,
    Throttled,
    Unproven,
    Unreachable,
)

RawFarEnds = Callable[..., RawFarEnd]

GLANCE = {
    "installs": 35,
    "users": 15,
    "appStarts": 57,
    "errors": 2,
    "previousInstalls": 3,
    "previousUsers": 13,
    "previousAppStarts": 40,
    "previousErrors": 1,
}
USER = {
    "userDbId": "60a",
    "userId": "richard_hendrix",
    "deviceId": "CiF9fH5XFVjD7Xo",
    "platform": "darwin",
    "osVersion": "11.2",
    "country": "BG",
    "lastSeen": "2021-04-12T07:19:10.000Z",
}


def http(body: object, status: str = "200 OK", extra: str = "") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(raw)}\r\n{extra}\r\n".encode() + raw


def answering(raw_far_end: RawFarEnds, answer: bytes) -> RawFarEnd:
    def answer_once(sock: socket.socket) -> None:
        there.heard.append(read_request(sock))
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        hold(sock)

    there = raw_far_end(answer_once)
    return there


def asking(there: RawFarEnd, token: str = "s3cret", **limits: float) -> DataApi:
    return DataApi(f"http://127.0.0.1:{there.port}", "acme-notes", token, **limits)  # type: ignore[arg-type]


# --- sensible answers --------------------------------------------------------------------------


def test_the_quick_glance_is_asked_for_with_the_token_in_one_header(
    raw_far_end: RawFarEnds,
) -> None:
    there = answering(raw_far_end, http({"data": GLANCE | {"later": 1}}))
    glance = asking(there).quickglance()
    assert (glance.app_starts, glance.previous_users, glance.errors) == (57, 13, 2)
    assert there.heard == [
        b"GET /api/v1/apps/acme-notes/analytics/quickglance HTTP/1.1\r\n"
        + f"Host: 127.0.0.1:{there.port}\r\n".encode()
        + b"Accept: application/json\r\nAuthorization: s3cret\r\nConnection: close\r\n\r\n"
    ]


def test_live_users_and_their_count(raw_far_end: RawFarEnds) -> None:
    rows = [USER, {"deviceId": "d2", "userId": None, "lastSeen": 1618211950}, {}]
    users = asking(answering(raw_far_end, http({"data": rows}))).live_users()
    assert [user.device_id for user in users] == ["CiF9fH5XFVjD7Xo", "d2", ""]
    assert [user.last_seen_ms for user in users] == [1618211950000, 1618211950000, 0]
    assert (users[0].user_id, users[0].os_version, users[0].country) == (
        "richard_hendrix",
        "11.2",
        "BG",
    )
    there = answering(raw_far_end, http({"data": 234}))
    assert asking(there).live_users_count() == 234
    assert b"/apps/acme-notes/live/users/count " in there.heard[0]


def test_without_a_token_no_authorization_is_sent(raw_far_end: RawFarEnds) -> None:
    there = answering(raw_far_end, http({"data": 0}))
    asking(there, "").live_users_count()
    assert b"uthorization" not in there.heard[0]


def test_chunked_answers_and_app_ids_with_slashes(raw_far_end: RawFarEnds) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = head + b'6\r\n{"data\r\n4\r\n":7}\r\n0\r\n\r\n'
    there = answering(raw_far_end, chunks)
    api = DataApi(f"http://127.0.0.1:{there.port}/p/", "../x", "t")
    assert api.live_users_count() == 7
    assert there.heard[0].startswith(b"GET /p/api/v1/apps/..%2Fx/live/users/count ")


def test_over_tls_the_far_end_must_prove_its_name(
    far_end: Callable[..., object], authority: Authority
) -> None:
    there = far_end(tls=authority.server())
    origin = f"https://localhost:{there.port}"  # type: ignore[attr-defined]
    with pytest.raises(Unproven):
        DataApi(origin, "a", "t").live_users_count()
    with pytest.raises(Refused):  # believed; it is a WebSocket server and wants an upgrade
        DataApi(origin, "a", "t", ca_file=authority.ca_file).live_users_count()


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "extra", "kind"),
    [
        ("401 Unauthorized", "", Refused),
        ("404 Not Found", "", Refused),
        ("429 Slow Down", "Retry-After: 7\r\n", Throttled),
        ("503 Busy", "Retry-After: 7\r\n", Throttled),
        ("500 Oh", "", Unreachable),
        ("204 No Content", "", Refused),
    ],
)
def test_a_refusal_is_a_fault_with_its_words(
    raw_far_end: RawFarEnds, status: str, extra: str, kind: type[Fault]
) -> None:
    there = answering(raw_far_end, http({"error": "no \u202e"}, status, extra))
    with pytest.raises(kind) as caught:
        asking(there).quickglance()
    assert status[:3] in str(caught.value)
    assert "\u202e" not in str(caught.value)
    if isinstance(caught.value, Throttled):
        assert caught.value.retry_after_s == 7


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(
    raw_far_end: RawFarEnds,
) -> None:
    elsewhere = raw_far_end(hold)
    location = f"Location: http://127.0.0.1:{elsewhere.port}/\r\n"
    there = answering(raw_far_end, http({}, "302 Found", location))
    with pytest.raises(Refused):
        asking(there).quickglance()
    assert elsewhere.accepted == 0


@pytest.mark.parametrize(
    "origin", ["http://example.org", "https://u:p@h", "ftp://h", "https://h?t=1"]
)
def test_an_origin_that_would_send_the_token_in_plain_text_is_refused(origin: str) -> None:
    with pytest.raises(SettingsFault):
        DataApi(origin, "a", "t")


@pytest.mark.parametrize("token", ["a\r\nX: y", "a b", "t\u00e4", "\x00"])
def test_a_token_that_would_break_the_header_is_refused(token: str) -> None:
    with pytest.raises(SecretFault) as caught:
        DataApi("https://h", "a", token)
    assert token not in str(caught.value)


# --- hostile answers ---------------------------------------------------------------------------


def endless(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n[")
    while True:
        sock.sendall(b" " * 65536)


def endless_headers(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        sock.sendall(b"X: y\r\n" * 100)


def endless_continue(sock: socket.socket) -> None:
    read_request(sock)
    while True:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        time.sleep(0.01)


def nonsense(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"\x00\xff SSH-2.0\r\n\r\n")


def cut_short(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"da')
    sock.close()


def bad_chunks(sock: socket.socket) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    hold(sock)


def hang_up(sock: socket.socket) -> None:
    read_request(sock)
    sock.close()


def drip(sock: socket.socket) -> None:
    read_request(sock)
    for byte in b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 10_000:
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


@pytest.mark.parametrize(
    "behave",
    [
        endless,
        endless_headers,
        endless_continue,
        nonsense,
        cut_short,
        bad_chunks,
        hang_up,
        hold,
        drip,
    ],
)
def test_an_answer_that_misbehaves_is_unreachable_within_the_deadline(
    raw_far_end: RawFarEnds, behave: Callable[[socket.socket], None]
) -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable):
        asking(raw_far_end(behave), deadline_s=0.6).quickglance()
    assert time.monotonic() - started < 1.5


def test_two_mebibytes_are_read_and_one_byte_more_is_not(raw_far_end: RawFarEnds) -> None:
    limit = 2 * 1024 * 1024
    body = b'{"data":5' + b" " * (limit - 10) + b"}"
    assert asking(answering(raw_far_end, http(body))).live_users_count() == 5
    with pytest.raises(Unreachable, match="more than"):
        asking(answering(raw_far_end, http(body + b" "))).live_users_count()


def test_sixteen_levels_are_read_and_seventeen_are_not() -> None:
    def nested(levels: int) -> bytes:
        return b'{"data":7,"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert read_answer(nested(16), _Count).data == 7
    with pytest.raises(Unreachable, match="16 deep"):
        read_answer(nested(17), _Count)
    with pytest.raises(Unreachable, match="16 deep"):
        read_answer(b'{"data":7,"x":' + b'[{"y":' * 9 + b"0" + b"}]" * 9 + b"}", _Count)
    assert read_answer(b'{"data":7,"x":"[[[[[[[[[[[[[[[[[[[[[[\\"[["}', _Count).data == 7


@pytest.mark.parametrize(
    "body", [b'"' + b'\\"' * 1_000_000, b'"' * 2_000_000, b"[" * 2_000_000, b'"\\' * 1_000_000]
)
def test_two_mebibytes_made_to_be_slow_are_judged_at_once(body: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable):
        read_answer(body, _Count)
    assert time.monotonic() - started < 1


KEYS = [*GLANCE, *USER, "data"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*GLANCE, *USER, "data"]) | st.text(max_size=3), inner, max_size=8
        )
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(body=json_values.map(lambda value: json.dumps({"data": value}).encode()) | st.binary())
@example(body=b'{"data":[{"lastSeen":1e999,"deviceId":"\\ud800"}]}')
@example(body=b'{"data":99999999999999999999999999999999}')
@example(body=b'{"data":[{"lastSeen":"9999-99-99"}]}')
@example(body=b"\xff")
def test_whatever_comes_is_an_answer_or_a_fault(body: bytes) -> None:
    for shape in (_Glance, _Rows, _Count):
        try:
            answer = read_answer(body, shape)
        except Unreachable:
            continue
        assert isinstance(answer, shape)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(USER, json_values)), max_size=3)
)
def test_live_users_of_any_content_are_users_or_a_fault(rows: list[dict[str, object]]) -> None:
    api = DataApi("http://127.0.0.1:1", "a", "t")
    api._get = lambda question: json.dumps({"data": rows}).encode()  # type: ignore[method-assign]
    try:
        users = api.live_users()
    except Fault:
        return
    assert len(users) == len(rows)
    assert all(user.last_seen_ms >= 0 for user in users)
