"""What those who came in are told, and which page may read it (threat row 23 of SECURITY.md)."""

from __future__ import annotations

import itertools
import json
import secrets
import socket

import pytest
from houses import (
    EVENT,
    JSON,
    ORIGINS,
    PAGE,
    UPGRADE,
    House,
    head,
    headers_of,
    knock,
    ours,
    status_of,
    target,
)

from agent.adapters.local.gateway_protocol import NOTHING_HERE
from agent.door.gateway import NewToken


def test_row_23_only_a_registered_pages_preflight_is_answered(
    house: House, token: NewToken
) -> None:
    paths = {
        "app/acme/track": {"POST"},
        "bulk": {"POST"},
        "any-key/event": {"POST"},
        "features/evaluated": {"GET"},
        "app/other/track": set(),
        "v1/status": set(),
    }
    for (path, takes), origin, asked in itertools.product(
        paths.items(), ORIGINS, ("POST", "GET", "PUT", "")
    ):
        headers = ours(token) | {
            "Access-Control-Request-Headers": "content-type,x-anything",
            "Access-Control-Request-Private-Network": "true",
            "Sec-Fetch-Site": "cross-site",
        }
        headers |= {"Origin": origin.format(token.port)} if origin else {}
        headers |= {"Access-Control-Request-Method": asked} if asked else {}
        answer = knock(token.port, head("OPTIONS", target(token, path), headers))
        if origin == PAGE and asked in takes:
            assert status_of(answer) == 204
            said = headers_of(answer)
            assert said["access-control-allow-origin"] == PAGE
            assert said["access-control-allow-headers"] == (
                "content-type, authorization, bucket-sdk-version, reflag-sdk-version"
            )
            assert said["access-control-max-age"] == "600"
            assert said["vary"] == "Origin"
            assert "access-control-allow-credentials" not in said
            assert "access-control-allow-private-network" not in said
        else:
            assert answer == NOTHING_HERE, (path, origin, asked)
    assert house.kept.rows == 0


@pytest.mark.parametrize("origin", ["", PAGE])
def test_row_23_answers_tell_one_page_alone_that_it_may_read_them(
    origin: str, token: NewToken
) -> None:
    headers = ours(token) | JSON | ({"Origin": origin} if origin else {})
    for method, rest, body in (
        ("POST", "app/acme/track", EVENT),
        ("POST", "app/acme/track", b"not JSON"),
        ("POST", "k/event", b'{"event":"e","userId":1}'),
        ("POST", "k/event", b"{}"),
        ("GET", "features", b""),
    ):
        answer = knock(token.port, head(method, target(token, rest), headers, body))
        said = headers_of(answer)
        assert said["x-content-type-options"] == "nosniff"
        assert said["cache-control"] == "no-store"
        assert said["content-security-policy"] == "default-src 'none'"
        assert said["x-frame-options"] == "DENY"
        assert said["content-type"].startswith("application/json")
        assert not {"server", "date", "access-control-allow-credentials"} & said.keys()
        assert said.get("access-control-allow-origin") == (origin or None)
        assert said.get("vary") == ("Origin" if origin else None)


def test_an_answer_has_the_ids_and_no_identity(token: NewToken) -> None:
    body = b'{"confirmation":"0.5","data":[{"id":7,"name":"x","anonId":"a","deviceId":"d"}]}'
    answer = knock(token.port, head("POST", target(token), ours(token) | JSON, body))
    said = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert said == {
        "reportedIds": [7],
        "confirmation": "0.5",
    }  # electron-nucleus needs its own back


def test_a_page_is_told_no_anon_id_over_its_websocket_either(token: NewToken) -> None:
    frame = b"\x81" + bytes([0x80 | len(EVENT)]) + bytes(4) + EVENT  # masked with zeros
    with socket.create_connection(("127.0.0.1", token.port), 5) as sock:
        sock.sendall(head("GET", target(token), ours(token) | UPGRADE | {"Origin": PAGE}))
        welcome = sock.recv(65536)
        sock.sendall(frame)
        heard = b""
        while b"}" not in heard:
            heard += sock.recv(65536)
    assert heard.endswith(b'{"reportedIds":[1]}')
    assert headers_of(welcome).keys().isdisjoint({"server", "set-cookie"})


def test_the_key_that_an_sdk_brings_is_looked_at_by_nobody(house: House, token: NewToken) -> None:
    secret = "sec_" + secrets.token_hex(16)
    for rest, more in (
        (f"{secret}/event", {}),
        ("event", {"Authorization": f"Bearer {secret}"}),
        (f"event?publishableKey={secret}", {}),
        ("event", {}),
    ):
        body = b'{"event":"e","userId":"u"}'
        answer = knock(
            token.port, head("POST", target(token, rest), ours(token) | JSON | more, body)
        )
        assert answer.endswith(b'{"success":true}')
    assert {key.text for key in house.kept.keys} == {"acme"}
    assert [app for app, *_ in house.kept.batches] == ["acme"] * 4
    assert secret not in repr(house.kept.batches)
