"""Each SDK's line, followed as that SDK follows it (NUCLEUS.md §1, BUCKET.md §1).

From the line the address is taken out as the client takes it, and the request is made as the client
makes it: the path that it appends, the header that it sends. tests/compat runs the clients of npm.
"""

from __future__ import annotations

import json
import re
import urllib.parse

import pytest
import websocket
from houses import EVENT, JSON, UPGRADE, House, head, knock, status_of

from agent.door.gateway import NewToken

#: What a client makes of its endpoint; those without a scheme put ws:// before it.
NUCLEUS = {
    "nucleus-nodejs": ("{}/app/acme/track", {}),
    "nucleus-analytics": ("{}/app/acme/track", {"Origin": "tauri://localhost"}),
    "astrolytics": ("{}/app/acme/track", {"Origin": "tauri://localhost"}),
    "electron-nucleus": ("ws://{}/app/acme/track", {}),
    "nucleus-python": ("{}/app/acme/track", {"Origin": "http://127.0.0.1:PORT"}),
    "NucleusSwift": ("{}/app/acme/track", {}),
}
DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
USER = b'{"userId":1234567890,"attributes":{"name":"R"}}'
BULK = b'[{"type":"user","userId":"1"},{"type":"event","event":"e","userId":"1"}]'
SECRET = "no-secret-is-needed-here"
#: Method, what is appended to the base, headers, body.
BUCKET = {
    "@bucketco/node-sdk": [
        ("POST", "/bulk", {"Authorization": f"Bearer {SECRET}"}, BULK),
        ("GET", "/features", {"Authorization": f"Bearer {SECRET}"}, b""),
    ],
    "@bucketco/node-sdk, from the environment": [
        ("POST", "/bulk", {"Authorization": f"Bearer {SECRET}"}, BULK),
    ],
    "@bucketco/tracking-sdk": [
        ("POST", "/acme/user", {"Bucket-Sdk-Version": "2.4.0"}, USER),
        ("POST", "/acme/feedback/prompting-init", {}, b'{"userId":"1"}'),
        ("GET", "/acme/features/enabled?context=1", {}, b""),
    ],
    "@bucketco/browser-sdk": [
        ("POST", "/user", {"Authorization": "Bearer acme", "Origin": "tauri://localhost"}, USER),
        ("GET", "/features/evaluated?publishableKey=acme", {"Origin": "tauri://localhost"}, b""),
    ],
    "@reflag/node-sdk": [
        ("POST", "/bulk", {"Authorization": f"Bearer {SECRET}"}, BULK),
        ("GET", "/features", {"Authorization": f"Bearer {SECRET}"}, b""),
    ],
    "@reflag/browser-sdk": [
        ("POST", "/bulk", {"Authorization": "Bearer acme", "Origin": "tauri://localhost"}, BULK),
    ],
    "Bucket.Sdk (.NET)": [("POST", "bulk", {"Authorization": f"Bearer {SECRET}"}, BULK)],
}


def _lines(token: NewToken) -> dict[str, str]:
    return {one.sdk: one.line for one in token.lines}


def _address(line: str) -> str:
    """Return the one address that stands in a line."""
    found = set(re.findall(r"(?:(?:ws|http)://)?127\.0\.0\.1:\d+/t/[\w-]+", line))
    assert len(found) == 1, line
    base = str(found.pop())
    return f"{base}/" if f'{base}/"' in line else base


@pytest.mark.parametrize("sdk", NUCLEUS)
def test_a_nucleus_client_opens_its_websocket(sdk: str, token: NewToken) -> None:
    url = NUCLEUS[sdk][0].format(_address(_lines(token)[sdk]))
    assert url.startswith("ws://")
    split = urllib.parse.urlsplit(url)
    headers = {"Host": split.netloc} | UPGRADE | DEFLATE
    headers |= {
        name: value.replace("PORT", str(token.port)) for name, value in NUCLEUS[sdk][1].items()
    }
    assert status_of(knock(token.port, head("GET", split.path, headers))) == 101


def test_the_library_beneath_nucleus_python_connects_as_it_does_by_itself(token: NewToken) -> None:
    """websocket-client says ``Origin: http://127.0.0.1:PORT`` of its own accord."""
    url = NUCLEUS["nucleus-python"][0].format(_address(_lines(token)["nucleus-python"]))
    ws = websocket.create_connection(url, timeout=5)
    ws.send(EVENT.decode())
    assert json.loads(ws.recv()) == {"reportedIds": [1]}
    ws.close()


@pytest.mark.parametrize("sdk", BUCKET)
def test_a_bucket_client_is_answered_as_it_needs(sdk: str, house: House, token: NewToken) -> None:
    line = _lines(token)[sdk]
    base = _address(line)
    assert base.startswith("http://")
    for method, path, headers, body in BUCKET[sdk]:
        split = urllib.parse.urlsplit(base + path)
        target = split.path + (f"?{split.query}" if split.query else "")
        sent = {"Host": split.netloc} | headers | (JSON if body else {})
        answer = knock(token.port, head(method, target, sent, body))
        assert status_of(answer) == 200
        said = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert said["success"] is not path.endswith("prompting-init")
    assert {app for app, *_ in house.kept.batches} == {"acme"}
    if "secretKey" in line or "SecretKey" in line or "SECRET" in line:
        assert SECRET in line
        assert len(SECRET) > 22  # or the client throws


def test_reflags_own_hosts_are_asked_for_nothing(token: NewToken) -> None:
    """With only apiBaseUrl the client opens front.reflag.com with the key in a header."""
    line = _lines(token)["@reflag/node-sdk"]
    assert line.count(f"127.0.0.1:{token.port}") == 2
    assert f'flagsPushUrl: "http://127.0.0.1:{token.port}/t/{token.token}/sse/server"' in line
    assert 'flagsSyncMode: "polling"' in line
    assert "sseBaseUrl" in _lines(token)["@bucketco/browser-sdk"]


def test_the_line_for_anything_else_posts(token: NewToken) -> None:
    line = _lines(token)["anything that can post"]
    split = urllib.parse.urlsplit(line.split()[-1])
    answer = knock(token.port, head("POST", split.path, {"Host": split.netloc} | JSON, EVENT))
    assert status_of(answer) == 200


def test_every_line_was_followed(token: NewToken) -> None:
    assert set(_lines(token)) == {*NUCLEUS, *BUCKET, "anything that can post"}
    languages = {one.sdk: one.language for one in token.lines}
    assert {languages[sdk] for sdk in NUCLEUS} == {"nucleus"}
    assert {languages[sdk] for sdk in BUCKET} == {"bucket"}
