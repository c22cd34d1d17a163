"""The five checks, with raw sockets: threat rows 14, 15 and 17 to 21 of SECURITY.md."""

from __future__ import annotations

import itertools
import json
import random
import secrets
import socket

import pytest
from houses import (
    EVENT,
    JSON,
    KEY,
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


def test_the_gate_lets_in_what_an_app_with_its_token_sends(house: House, token: NewToken) -> None:
    answer = knock(token.port, head("POST", target(token), ours(token) | JSON, EVENT))
    assert status_of(answer) == 200
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"reportedIds": [1]}
    assert [(app, len(frame.events)) for app, frame in house.kept.frames] == [("acme", 1)]


@pytest.mark.parametrize("name", ["127.0.0.1", "[::1]", "localhost", "LOCALHOST"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_row_17_every_name_of_ours_is_taken_on_both_addresses(
    name: str, address: str, token: NewToken
) -> None:
    request = head("POST", target(token), {"Host": f"{name}:{token.port}"} | JSON, EVENT)
    assert status_of(knock(token.port, request, host=address)) == 200


HOSTS = [  # {} is the port
    [],
    ["evil.example"],
    ["evil.example:{}"],
    ["127.0.0.1"],
    ["127.0.0.1:1"],
    ["127.0.0.1:{}0"],
    ["127.0.0.1:0{}"],
    ["127.0.0.1:{}", "127.0.0.1:{}"],
    ["127.0.0.1:{}", "evil.example"],
    ["0.0.0.0:{}"],
    ["127.0.0.2:{}"],
    ["127.1:{}"],
    ["2130706433:{}"],
    ["0x7f000001:{}"],
    ["localhost"],
    ["localhost.:{}"],
    ["localhost.evil.example:{}"],
    ["127.0.0.1.nip.example:{}"],
    ["user@127.0.0.1:{}"],
    ["[::1]"],
    ["[::ffff:127.0.0.1]:{}"],
    ["[0:0:0:0:0:0:0:1]:{}"],
    ["::1:{}"],
    [""],
    ["127.0.0.1:{}, 127.0.0.1:{}"],
]


@pytest.mark.parametrize("hosts", HOSTS, ids=str)
@pytest.mark.parametrize("upgrade", [False, True], ids=["post", "websocket"])
def test_row_17_another_host_is_nothing_here(
    hosts: list[str], upgrade: bool, house: House, token: NewToken
) -> None:
    named = [("Host", host.format(token.port, token.port)) for host in hosts]
    if upgrade:
        request = head("GET", target(token), [*named, *UPGRADE.items()])
    else:
        request = head("POST", target(token), [*named, *JSON.items()], EVENT)
    assert knock(token.port, request) == NOTHING_HERE
    assert house.kept.rows == 0


TYPES = {
    "application/json": True,
    "Application/JSON; charset=utf-8": True,
    "": False,
    "text/plain": False,
    "text/plain; charset=utf-8": False,
    "text/plain; x=application/json": False,
    "application/x-www-form-urlencoded": False,
    "multipart/form-data; boundary=b": False,
    "application/json, text/plain": False,
}
SITES = {"": True, "none": True, "same-origin": True, "same-site": False, "cross-site": False}


def test_row_18_no_page_posts_by_any_mix_of_origin_type_and_site(
    house: House, token: NewToken
) -> None:
    rows = 0
    for origin, kind, site in itertools.product(ORIGINS, TYPES, SITES):
        headers = ours(token)
        headers |= {"Origin": origin.format(token.port)} if origin else {}
        headers |= {"Content-Type": kind} if kind else {}
        headers |= {"Sec-Fetch-Site": site} if site else {}
        answer = knock(token.port, head("POST", target(token), headers, EVENT))
        good = ORIGINS[origin] and TYPES[kind] and (SITES[site] or origin == PAGE)
        if good:
            rows += 1
            assert status_of(answer) == 200, (origin, kind, site)
        else:
            assert answer == NOTHING_HERE, (origin, kind, site)
        assert house.kept.rows == rows, (origin, kind, site)
    assert rows == 2 * (2 * 3 + 5)  # two types, by two origins from three sites, by ours from all


@pytest.mark.parametrize("header", ["Content-Type", "Origin"])
def test_row_18_a_header_that_stands_there_twice_is_nothing_here(
    header: str, house: House, token: NewToken
) -> None:
    value = {"Content-Type": "application/json", "Origin": PAGE}[header]
    pairs = [*(ours(token) | JSON | {"Origin": PAGE}).items(), (header, value)]
    assert knock(token.port, head("POST", target(token), pairs, EVENT)) == NOTHING_HERE
    assert house.kept.rows == 0


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("right", [True, False], ids=["token", "wrong token"])
def test_row_19_no_page_opens_a_websocket(
    origin: str, right: bool, house: House, token: NewToken
) -> None:
    headers = ours(token) | UPGRADE
    headers |= {"Origin": origin.format(token.port)} if origin else {}
    aim = target(token) if right else f"/t/{secrets.token_urlsafe(32)}/app/acme/track"
    answer = knock(token.port, head("GET", aim, headers))
    if ORIGINS[origin] and right:
        assert status_of(answer) == 101
    else:
        assert answer == NOTHING_HERE
    assert house.kept.rows == 0


def test_row_20_null_is_let_in_only_where_a_person_said_so(house: House) -> None:
    strict, open_ = house.give("acme", PAGE), house.give("acme", "null")
    for token, status in ((strict, 404), (open_, 200)):
        headers = ours(token) | JSON | {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
        answer = knock(token.port, head("POST", target(token), headers, EVENT))
        assert status_of(answer) == status
    assert headers_of(answer)["access-control-allow-origin"] == "null"
    assert len(house.kept.frames) == 1


def test_row_14_a_token_opens_its_own_app_only(house: House, token: NewToken) -> None:
    other = house.give("other")
    for mine, app in ((token, "other"), (other, "acme"), (token, ""), (token, "ACME")):
        for rest in (f"app/{app}/track", f"prefix/app/{app}/track", f"app/{app}/license/validate"):
            request = head("POST", target(mine, rest), ours(mine) | JSON, EVENT)
            assert knock(mine.port, request) == NOTHING_HERE
            request = head("GET", target(mine, rest), ours(mine) | UPGRADE)
            assert knock(mine.port, request) == NOTHING_HERE
    bare = head("POST", target(token, "other"), ours(token) | JSON, EVENT)
    assert knock(token.port, bare) == NOTHING_HERE
    assert house.kept.rows == 0


def test_row_14_a_key_that_is_another_apps_id_is_nothing_here(
    house: House, token: NewToken
) -> None:
    body = b'{"userId":"u"}'
    for key, good in (("acme", True), ("pub_of_the_far_end", True), ("acme-notes", False)):
        answer = knock(
            token.port, head("POST", target(token, f"{key}/user"), ours(token) | JSON, body)
        )
        if good:
            assert status_of(answer) == 200, key
        else:
            assert answer == NOTHING_HERE
    assert [app_id for app_id, _, _ in house.kept.batches] == ["acme", "acme"]


@pytest.mark.parametrize(
    "rest",
    ["app/acme/track", "app/acme/track/", "/app/acme/track", "acme", "acme/", "x/app/acme/track"],
)
def test_every_spelling_of_an_apps_path_is_served(rest: str, house: House, token: NewToken) -> None:
    request = head("POST", target(token, rest), ours(token) | JSON, EVENT)
    assert status_of(knock(token.port, request)) == 200
    request = head("GET", target(token, rest), ours(token) | UPGRADE)
    assert status_of(knock(token.port, request)) == 101
    assert [app for app, _ in house.kept.frames] == ["acme"]


@pytest.mark.parametrize("length", [0, 1, 42, 44, 128, 129, 4096])
def test_row_15_a_token_of_another_length_is_nothing_here(
    length: int, house: House, token: NewToken
) -> None:
    wrong = (token.token * 100)[:length]
    request = head("POST", f"/t/{wrong}/app/acme/track", ours(token) | JSON, EVENT)
    assert knock(token.port, request) == NOTHING_HERE
    assert house.kept.rows == 0


def _bad_requests(token: NewToken) -> dict[str, bytes]:
    mine, right = ours(token), target(token)
    wrong = f"/t/{secrets.token_urlsafe(32)}/app/acme/track"
    percent = target(token, "app/%61cme/track")
    return {
        "no host": head("GET", "/", {}),
        "a scan": head("GET", "/", mine),
        "an old scan": b"GET / HTTP/1.0\r\n\r\n",
        "HEAD": head("HEAD", right, mine),
        "a wrong host": head("POST", right, {"Host": "evil.example"} | JSON, EVENT),
        "no token": head("POST", "/app/acme/track", mine | JSON, EVENT),
        "a wrong token": head("POST", wrong, mine | JSON, EVENT),
        "a wrong token's WebSocket": head("GET", wrong, mine | UPGRADE),
        "a wrong origin": head("POST", right, mine | JSON | {"Origin": "http://evil"}, EVENT),
        "a page's image": head(
            "GET", target(token, "features"), mine | {"Sec-Fetch-Site": "cross-site"}
        ),
        "a plain text": head("POST", right, mine | {"Content-Type": "text/plain"}, EVENT),
        "a method": head("DELETE", right, mine),
        "a method of its own": head("BREW", right, mine),
        "a path": head("POST", target(token, "a/b/c/d"), mine | JSON, EVENT),
        "an encoded path": head("POST", percent, mine | JSON, EVENT),
        "an encoded key": head("POST", target(token, "k%65y/event"), mine | JSON, b"{}"),
        "dots": head("GET", target(token, "../../v1/status"), mine),
        "a control route": head("GET", target(token, "v1/status"), mine),
        "a control route's WebSocket": head("GET", target(token, "v1/watch"), mine | UPGRADE),
        "a control route without a token": head("GET", "/v1/status", mine),
        "a GET of a WebSocket's path": head("GET", right, mine),
        "a crash dump": head(
            "POST",
            target(token, "app/acme/crash"),
            mine | {"Content-Type": "multipart/form-data"},
            b"x",
        ),
        "an absolute target": head("GET", f"http://127.0.0.1:{token.port}{right}", mine | UPGRADE),
        "half a handshake": head(
            "GET", right, mine | {k: v for k, v in UPGRADE.items() if "Key" not in k}
        ),
        "an old handshake": head("GET", right, mine | UPGRADE | {"Sec-WebSocket-Version": "8"}),
        "a POSTed handshake": head("POST", right, mine | UPGRADE),
        "a preflight without Origin": head(
            "OPTIONS", right, mine | {"Access-Control-Request-Method": "POST"}
        ),
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello, TLS",
        "a line": EVENT + b"\n",
        "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a broken header": b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "a huge header": head("GET", "/", mine | {"X": "x" * 70_000}),
        "two lengths": head(
            "POST",
            right,
            [*mine.items(), *JSON.items(), ("Content-Length", "1"), ("Content-Length", "2")],
            b"xx",
        ),
    }


def test_row_21_every_failure_has_the_same_bytes(house: House, token: NewToken) -> None:
    answers = {what: knock(token.port, sent) for what, sent in _bad_requests(token).items()}
    assert {what: said for what, said in answers.items() if said != NOTHING_HERE} == {}
    assert len(answers) >= 30
    assert house.kept.rows == 0
    told = NOTHING_HERE.lower()
    assert not [
        word for word in (b"server", b"date", b"homing", b"uvicorn", b"json") if word in told
    ]


def test_row_21_a_refused_request_that_is_still_being_sent_hears_the_answer(
    token: NewToken,
) -> None:
    big = b"x" * 3_000_000
    request = head("POST", "/t/wrong/app/acme/track", ours(token) | JSON, big)
    assert knock(token.port, request) == NOTHING_HERE


def test_a_second_request_of_a_connection_is_checked_as_the_first(
    house: House, token: NewToken
) -> None:
    good = head("POST", target(token), ours(token) | JSON, EVENT)
    bad = head("POST", "/t/wrong/app/acme/track", ours(token) | JSON, EVENT)
    with socket.create_connection(("127.0.0.1", token.port), 5) as sock:
        sock.sendall(good)
        answered = b""
        while b"reportedIds" not in answered:  # header and body come apart
            answered += sock.recv(65536)
        sock.sendall(bad)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer == NOTHING_HERE
    assert len(house.kept.frames) == 1


def test_a_request_that_comes_behind_one_and_is_refused_ends_the_connection(
    house: House, token: NewToken
) -> None:
    good = head("POST", target(token), ours(token) | JSON, EVENT)
    bad = head("POST", "/t/wrong/app/acme/track", ours(token) | JSON, EVENT)
    for _ in range(20):
        answer = knock(token.port, good + bad)
        assert b"404" not in answer.partition(b"\r\n")[0] or answer == NOTHING_HERE
    assert house.mistakes == []
    assert status_of(knock(token.port, good)) == 200


def test_no_mutilated_request_is_told_anything(house: House, token: NewToken) -> None:
    """Bytes of good requests changed, left out, doubled and cut: without the token, nothing."""
    chance = random.Random(20)
    wrong = secrets.token_urlsafe(32)
    seeds = [
        head("POST", f"/t/{wrong}/app/acme/track", ours(token) | JSON | {"Origin": PAGE}, EVENT),
        head("GET", f"/t/{wrong}/acme", ours(token) | UPGRADE),
        head(
            "OPTIONS", f"/t/{wrong}/bulk", ours(token) | {"Access-Control-Request-Method": "POST"}
        ),
    ]
    for _ in range(400):
        request = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(request))
            match chance.randrange(4):
                case 0:
                    request[at] = chance.randrange(256)
                case 1:
                    del request[at : at + chance.randrange(1, 20)]
                case 2:
                    request[at:at] = request[at : at + chance.randrange(1, 40)]
                case _:
                    request[at:at] = chance.choice([b"\r\n", b"\r\n\r\n", b"\0", b" ", b":", b"%"])
        request += b"\r\n\r\n"
        answer = knock(token.port, bytes(request), wait_s=0.05)
        assert answer in (NOTHING_HERE, b""), bytes(request)
    assert house.kept.rows == 0


def test_the_key_of_a_handshake_is_one(token: NewToken) -> None:
    for key in (KEY, KEY[:-2], "x" * 24, ""):
        headers = ours(token) | UPGRADE | {"Sec-WebSocket-Key": key}
        answer = knock(token.port, head("GET", target(token), headers))
        assert (status_of(answer) == 101) == (key == KEY)
