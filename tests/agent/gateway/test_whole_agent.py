"""The gateway and Bucket's calls in a whole agent: doors, outbox, consent, a restart."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from houses import EVENT, JSON, head, knock, status_of

from agent.adapters.local.gateway_protocol import NOTHING_HERE
from agent.client import LocalDoor
from agent.door.apps import AllowApp, DenyApp
from agent.door.gateway import GiveToken, ListTokens, NewToken, RevokeTokens
from agent.host import Agent, HostDoor
from tracking.errors import RequestFault

SETTINGS = """
[[apps]]
id = "acme"
name = "Acme"
speaks = ["nucleus", "bucket"]
  [[apps.upstreams]]
  kind = "homing"
  endpoint = "ws://127.0.0.1:9"
[[apps]]
id = "plain"
name = "Plain"
"""
SECRET = "sec_a-real-one-meant-for-somebody-else"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home short enough for a socket's path, without a keyring to be asked."""
    path = Path(tempfile.mkdtemp(prefix="hg-"))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={path}/no-bus")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(
    folder: Path, expected_warnings: Callable[..., None]
) -> Iterator[Callable[..., tuple[Agent, HostDoor]]]:
    """Start an agent on the folder; stopped at the end."""
    expected_warnings("agent.secrets", "agent.posting")  # no keyring; no key for the far end
    running: list[Agent] = []

    def make(settings: str = SETTINGS, **env: str) -> tuple[Agent, HostDoor]:
        (folder / "config").mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "config" / "homing.toml").write_text(settings)
        agent = Agent({"HOMING_HOME": str(folder), **env})
        door = agent.start()
        running.append(agent)
        return agent, door

    yield make
    for agent in running:
        agent.stop()


def _listening() -> set[tuple[str, int]]:
    found = psutil.Process().net_connections("inet")
    return {one.laddr[:2] for one in found if one.status == psutil.CONN_LISTEN}


def _post(token: NewToken, rest: str, body: bytes, **headers: str) -> tuple[int, Any]:
    sent = {"Host": f"127.0.0.1:{token.port}"} | JSON
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    answer = knock(token.port, head("POST", f"/t/{token.token}/{rest}", sent, body))
    text = answer.partition(b"\r\n\r\n")[2]
    return status_of(answer), json.loads(text) if text else None


class _OverUnix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(15)
        self.sock.connect(str(self.path))


def _local(agent: Agent, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    """POST to the local socket."""
    connection = _OverUnix(agent.places.socket)
    sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, body, sent)
    answer = connection.getresponse()
    said = json.loads(answer.read() or b"null")
    connection.close()
    return answer.status, said


def _examined(door: HostDoor) -> tuple[str, str, str]:
    """What the doctor says of the gateway itself."""
    (found,) = [one for one in door.doctor() if one.title == "Gateway"]
    return found.code, found.verdict, found.evidence


def _queued(door: HostDoor, app_id: str = "acme") -> list[str]:
    return [event.body for event in door.outbox(app_id=app_id, limit=1000)]


def test_row_21_an_agent_opens_no_tcp_by_itself_and_listens_again_after_a_restart(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    before = _listening()
    agent, door = start()
    assert _listening() == before
    assert door.ask(ListTokens()).listening is False
    assert _examined(door) == ("gateway", "ok", "off: no app has a token")
    token = door.ask(GiveToken(app_id="acme"))
    said = f"open on 127.0.0.1:{token.port} and [::1]:{token.port} for acme"
    assert _examined(door) == ("gateway", "ok", said)
    ours = {("127.0.0.1", token.port), ("::1", token.port)}
    assert _listening() - before == ours
    agent.stop()
    assert _listening() == before
    with socket.create_server(("127.0.0.1", token.port)):  # somebody else is quicker
        agent, door = start()
        code, verdict, _ = _examined(door)
        assert (code, verdict) == ("gateway.port_taken", "error")
        assert "Apps cannot reach the gateway: " in door.status().sentence.text
        agent.stop()
    agent, door = start()
    assert _listening() - before == ours
    assert _post(token, "app/acme/track", EVENT) == (200, {"reportedIds": [1]})
    door.ask(RevokeTokens(app_id="acme"))
    assert _listening() == before


@pytest.mark.parametrize("table", ["host", "address", "listen", "bind"])
def test_row_22_no_setting_makes_it_listen_elsewhere(
    table: str, start: Callable[..., tuple[Agent, HostDoor]]
) -> None:
    from tracking.errors import SettingsFault

    with pytest.raises(SettingsFault, match=table):
        start(f'[gateway]\n{table} = "0.0.0.0"\n' + SETTINGS)
    with pytest.raises(SettingsFault, match=table.upper()):
        start(**{f"HOMING_GATEWAY_{table.upper()}": "0.0.0.0"})


def test_the_port_can_be_set(start: Callable[..., tuple[Agent, HostDoor]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    _, door = start(f"[gateway]\nport = {port}\n" + SETTINGS)
    token = door.ask(GiveToken(app_id="acme"))
    assert token.port == port
    assert _post(token, "app/acme/track", EVENT)[0] == 200


def test_the_gateway_has_no_control_routes(start: Callable[..., tuple[Agent, HostDoor]]) -> None:
    agent, door = start()
    token = door.ask(GiveToken(app_id="acme"))
    for path in ("v1/status", "v1/stop", "v1/send", "v1/gateway/give", "v1/watch", "v1/outbox"):
        for method in ("GET", "POST"):
            sent = {"Host": f"127.0.0.1:{token.port}"} | JSON
            answer = knock(token.port, head(method, f"/t/{token.token}/{path}", sent, b"{}"))
            assert answer == NOTHING_HERE
            answer = knock(token.port, head(method, f"/{path}", sent, b"{}"))
            assert answer == NOTHING_HERE
    assert LocalDoor(agent.places.socket).status().pid > 0


def test_row_14_a_token_is_its_apps_alone_and_needs_its_consent(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = start()
    token = door.ask(GiveToken(app_id="nobody", new=True))
    assert token.consent == "pending"
    status, said = _post(token, "app/nobody/track", EVENT)
    assert (status, said["field"], said["reportedIds"]) == (403, "appId", [])
    status, said = _post(token, "event", b'{"event":"e","userId":"u"}')
    assert (status, said["success"], said["error"]["code"]) == (403, False, "INVALID_API_KEY")
    assert _queued(door) == []
    own = door.ask(GiveToken(app_id="plain"))
    assert own.consent == "allowed"
    assert {line.language for line in own.lines} == {"nucleus"}
    assert "words of Nucleus only" in own.warnings[0]
    status, said = _post(own, "event", b'{"event":"e","userId":"u"}')
    assert (status, said["error"]["code"]) == (403, "INVALID_API_KEY")


def test_a_typing_error_gets_no_token_and_opens_nothing(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = start()
    with pytest.raises(RequestFault, match="no app 'acmee' is declared here") as caught:
        door.ask(GiveToken(app_id="acmee"))
    assert "Did you mean acme?" in caught.value.advice
    assert "--new" in caught.value.advice
    assert door.ask(ListTokens()).listening is False
    token = door.ask(GiveToken(app_id="acmee", new=True))
    assert {line.language for line in token.lines} == {"nucleus"}  # as its Bucket is refused
    assert door.ask(GiveToken(app_id="acmee")).token != token.token  # it has one: it is known


def test_do_not_track_is_acknowledged_and_dropped_at_the_gateway_too(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = start(DO_NOT_TRACK="1")
    token = door.ask(GiveToken(app_id="acme"))
    assert _post(token, "app/acme/track", EVENT) == (200, {"reportedIds": [1]})
    assert _post(token, "event", b'{"event":"e","userId":"u"}') == (200, {"success": True})
    assert _queued(door) == []


def test_what_a_person_answered_holds_at_the_gateway(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = start()
    token = door.ask(GiveToken(app_id="nobody", new=True))
    assert _post(token, "app/nobody/track", EVENT)[0] == 403
    door.ask(AllowApp(app_id="nobody"))
    assert _post(token, "app/nobody/track", EVENT) == (200, {"reportedIds": [1]})
    assert len(_queued(door, "nobody")) > 0
    door.ask(DenyApp(app_id="nobody"))
    assert _post(token, "app/nobody/track", EVENT) == (200, {"reportedIds": [1]})
    assert _post(token, "event", b'{"event":"e","userId":"u"}') == (200, {"success": True})
    assert _queued(door, "nobody") == []


def test_what_bucket_clients_send_is_in_the_outbox_digit_by_digit(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    """BUCKET.md §2.1: ids by their digits; numbers, nulls and what is nested as they were sent."""
    _, door = start()
    token = door.ask(GiveToken(app_id="acme"))
    attributes = (
        '{"big":9007199254740993,"f":1.10,"e":1e2,"none":null,"deep":{"a":[1,null,{"b":"♥"}]}}'
    )
    body = f'{{"userId":9007199254740993,"event":"Sent message","attributes":{attributes}}}'
    assert _post(token, "event", body.encode()) == (200, {"success": True})
    (kept,) = _queued(door)
    assert body in kept


def test_a_bulk_with_a_bad_item_keeps_the_others_and_counts_it(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = start()
    token = door.ask(GiveToken(app_id="acme"))
    items: list[dict[str, Any]] = [
        {"type": "event", "event": f"e{n}", "userId": "u"} for n in range(100)
    ]
    items[57]["userId"] = None
    status, said = _post(
        token, "bulk", json.dumps(items).encode(), Authorization=f"Bearer {SECRET}"
    )
    assert (status, said["success"], said["accepted"]) == (200, True, 99)
    assert said["rejected"][0]["index"] == 57
    kept = _queued(door)
    assert len(kept) == 99
    assert SECRET not in "".join(kept)
    (app,) = [app for app in door.status().apps if app.app_id == "acme"]
    assert (app.accepted, app.refused) == (99, 1)


def test_the_same_idempotency_key_is_kept_once(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = start()
    token = door.ask(GiveToken(app_id="acme"))
    body = b'{"featureId":"f","userId":"u","score":4}'
    first = _post(token, "feedback", body, Idempotency_Key="a-1")
    assert first[0] == 200
    assert first[1]["feedbackId"]
    assert _post(token, "feedback", body, Idempotency_Key="a-1") == first
    assert len(_queued(door)) == 1
    assert _post(token, "feedback", body, Idempotency_Key="a-2")[1] != first[1]
    assert len(_queued(door)) == 2
    for _ in range(5):  # five equal events are five events (BUCKET.md case 25)
        _post(token, "event", b'{"event":"e","userId":"u"}')
    assert len(_queued(door)) == 7


def test_the_local_socket_takes_bucket_calls_by_the_apps_id(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    agent, door = start()
    token = door.ask(GiveToken(app_id="acme"))
    body = b'{"event":"e","userId":1}'
    for path, headers in (
        ("/acme/event", {}),
        ("//acme//event/", {}),
        ("/event", {"Authorization": "Bearer acme"}),
        ("/event?publishableKey=acme", {}),
        ("/event", {"Authorization": f"Bearer {token.token}"}),
    ):
        assert _local(agent, path, body, **headers) == (200, {"success": True})
    assert len(_queued(door)) == 5
    status, said = _local(agent, "/event", body, Authorization=f"Bearer {SECRET}")
    assert (status, said["error"]["code"]) == (403, "INVALID_API_KEY")
    status, said = _local(agent, "/stranger/event", body)
    assert (status, said["error"]["code"]) == (403, "INVALID_API_KEY")
    assert SECRET not in json.dumps([app.app_id for app in door.status().apps])
    # and the routes of the tools and of Nucleus are where they were
    assert _local(agent, "/v1/nothing", b"{}")[1]["code"] == "request"
    for path in ("/acme", "/app/acme/track"):
        assert _local(agent, path, EVENT)[1] == {"reportedIds": [1], "anonId": "anon-1"}


def test_over_the_quota_a_bucket_client_waits_instead_of_losing_its_batch(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = start("[limits]\nevents_per_s = 250\nburst = 100\n" + SETTINGS)
    token = door.ask(GiveToken(app_id="acme"))
    items = [{"type": "event", "event": "e", "userId": "u"}] * 100
    bulk = json.dumps([*items, {"type": "event", "event": "bad"}]).encode()
    for _ in range(3):
        status, said = _post(token, "bulk", bulk)
        assert (status, said["success"], said["accepted"]) == (200, True, 100)
    assert len(_queued(door)) == 300
    (app,) = [app for app in door.status().apps if app.app_id == "acme"]
    assert (app.accepted, app.refused) == (300, 3)


def test_far_over_the_quota_a_bucket_client_is_refused_at_once(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = start("[limits]\nevents_per_s = 1\nburst = 20\n" + SETTINGS)
    token = door.ask(GiveToken(app_id="acme"))
    bulk = json.dumps([{"type": "event", "event": "e", "userId": "u"}] * 20).encode()
    assert _post(token, "bulk", bulk) == (200, {"success": True})
    status, said = _post(token, "bulk", bulk)
    assert (status, said["success"], said["error"]["code"]) == (503, False, "UNKNOWN_ERROR")
    assert len(_queued(door)) == 20


def test_who_asks_through_the_local_door_is_answered_the_same(
    start: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    agent, host = start()
    door = LocalDoor(agent.places.socket)
    token = door.ask(GiveToken(app_id="acme", origins=("tauri://localhost",)))
    assert _post(token, "app/acme/track", EVENT)[0] == 200
    listed = door.ask(ListTokens(app_id="acme"))
    assert listed == host.ask(ListTokens(app_id="acme"))
    assert [(one.prefix, one.origins) for one in listed.tokens] == [
        (token.prefix, ("tauri://localhost",))
    ]
    assert listed.tokens[0].last_used
    assert door.ask(ListTokens(app_id="other")).tokens == ()
    with pytest.raises(RequestFault, match="no web site is let in"):
        door.ask(GiveToken(app_id="acme", origins=("https://example.com",)))
    assert door.ask(RevokeTokens(app_id="acme", prefix=token.prefix)).listening is False
    with pytest.raises(ConnectionRefusedError):
        _post(token, "app/acme/track", EVENT)


def test_row_16_no_token_is_in_what_an_agent_shows_or_keeps(
    folder: Path, start: Callable[..., tuple[Agent, HostDoor]]
) -> None:
    agent, door = start('[log]\nlevel = "debug"\n' + SETTINGS)
    token = door.ask(GiveToken(app_id="acme"))
    _post(token, "app/acme/track", EVENT)
    _post(token, f"{SECRET}/event", b'{"event":"e","userId":"u"}')
    shown = repr((door.status(), door.wire(), door.outbox(), door.doctor(), door.ask(ListTokens())))
    agent.stop()
    assert token.token not in shown
    assert SECRET not in shown
    kept = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert len(kept) > 1000
    assert token.token.encode() not in kept
    assert token.token[8:].encode() not in kept
    assert SECRET.encode() not in kept
