"""Tokens and the port: given once, kept as digests, revoked at once (threat rows 15, 16, 22)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import socket
import stat
import time
from pathlib import Path

import psutil
import pytest
from houses import EVENT, JSON, UPGRADE, House, head, knock, running, status_of, until

from agent.adapters.local import gateway_tokens as tokens_module
from agent.adapters.local.gateway_protocol import NOTHING_HERE
from agent.adapters.local.gateway_socket import (
    LOOPBACK,
    PORTS,
    PortTaken,
    listen_on_a_fresh_port,
    listen_on_loopback,
)
from agent.adapters.local.gateway_tokens import GatewayTokens
from agent.runtime.loopback import gateway as gateway_module
from tracking.errors import RequestFault, SettingsFault


def _listening() -> set[tuple[str, int]]:
    found = psutil.Process().net_connections("inet")
    return {one.laddr[:2] for one in found if one.status == psutil.CONN_LISTEN}


def _post(token: object, app_id: str = "acme") -> bytes:
    port, text = token.port, token.token  # type: ignore[attr-defined]
    headers = {"Host": f"127.0.0.1:{port}"} | JSON
    return knock(port, head("POST", f"/t/{text}/app/{app_id}/track", headers, EVENT))


def test_row_21_without_a_token_nobody_listens(tmp_path: Path) -> None:
    before = _listening()
    for house in running(tmp_path / "gateway.json"):
        assert _listening() == before
        assert not house.file.exists()
        token = house.give()
        assert _listening() - before == {("127.0.0.1", token.port), ("::1", token.port)}
        house.revoke()
        assert _listening() == before


def test_the_port_is_kept_over_a_restart_and_over_the_last_token(house: House) -> None:
    first = house.give()
    assert first.port in PORTS
    house.run(house.gateway.close())
    with pytest.raises(ConnectionRefusedError):
        _post(first)
    house.open()
    assert status_of(_post(first)) == 200
    house.revoke()
    assert house.give().port == first.port
    assert _post(first) == NOTHING_HERE


def test_the_file_is_ours_alone_and_has_no_token(house: House) -> None:
    tokens = [house.give().token for _ in range(3)]
    assert stat.S_IMODE(house.file.stat().st_mode) == 0o600
    text = house.file.read_text()
    for token in tokens:
        assert len(token) == 43  # 256 bits in base64url
        assert token not in text
        assert token[7:] not in text
        assert hashlib.sha256(token.encode()).hexdigest() in text
    assert len(set(tokens)) == 3


def test_a_taken_port_is_said_and_never_another(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "RETRY_S", 0.1)
    token = house.give()
    house.run(house.gateway.close())
    with contextlib.ExitStack() as thief:
        squatter = thief.enter_context(socket.create_server(("127.0.0.1", token.port)))
        before = _listening()
        house.open()
        assert _listening() == before
        assert "address already in use" in house.board.told["gateway.port_taken"]
        told = house.tokens()
        assert (told.listening, told.port) == (False, token.port)
        assert "address already in use" in told.why
        again = house.give()  # a token is given all the same, and says so
        assert (again.listening, again.port, again.why) == (False, token.port, told.why)
        assert squatter.fileno() > 0
    until(lambda: house.gateway.listening)
    assert "gateway.port_taken" not in house.board.told
    assert status_of(_post(again)) == 200


def test_a_gateway_that_was_closed_while_it_waited_for_its_port_stays_closed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "RETRY_S", 0.05)
    token = house.give()
    house.run(house.gateway.close())
    with socket.create_server(("127.0.0.1", token.port)):
        house.open()
        assert not house.gateway.listening
    house.run(house.gateway.close())
    before = _listening()
    time.sleep(0.2)  # four times as long as it waits between two tries
    assert _listening() == before
    assert ("127.0.0.1", token.port) not in before


def test_a_stranger_on_the_other_address_is_a_taken_port_too() -> None:
    socks, port = listen_on_a_fresh_port(lambda n: n // 3)
    for sock in socks:
        sock.close()
    with socket.socket(socket.AF_INET6) as squatter:
        squatter.bind(("::1", port))
        squatter.listen()
        with pytest.raises(PortTaken) as caught:
            listen_on_loopback(port)
    assert caught.value.code == "gateway.port_taken"
    for sock in listen_on_loopback(port):  # the half that was opened is closed
        sock.close()


def test_a_machine_without_ipv6_has_the_gateway_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = socket.socket.bind

    class Old(socket.socket):
        def bind(self, address: object) -> None:  # type: ignore[override]
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "cannot assign requested address")
            bind(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", Old)
    socks, _ = listen_on_a_fresh_port(lambda n: n // 5)
    assert [sock.family for sock in socks] == [socket.AF_INET]
    socks[0].close()


def test_row_22_no_address_but_loopback_can_be_listened_on(tmp_path: Path) -> None:
    assert [address for _, address in LOOPBACK] == ["127.0.0.1", "::1"]
    before = _listening()
    for house in running(tmp_path / "gateway.json"):
        token = house.give()
        assert {address for address, _ in _listening() - before} == {"127.0.0.1", "::1"}
        mine = {
            one.address
            for interface in psutil.net_if_addrs().values()
            for one in interface
            if one.family == socket.AF_INET and not one.address.startswith("127.")
        }
        for address in [*mine, "127.0.0.2"]:  # Linux has all of 127/8 on lo
            with pytest.raises(OSError):  # noqa: PT011 - refused or unreachable, as the net has it
                socket.create_connection((address, token.port), 1).close()


def test_a_revoked_token_opens_nothing_and_its_connections_end_within_a_second(
    house: House,
) -> None:
    keep, gone = house.give(), house.give()

    def open_ws(token: object) -> socket.socket:
        port, text = token.port, token.token  # type: ignore[attr-defined]
        sock = socket.create_connection(("127.0.0.1", port), 5)
        headers = {"Host": f"127.0.0.1:{port}"} | UPGRADE
        sock.sendall(head("GET", f"/t/{text}/app/acme/track", headers))
        assert sock.recv(65536).startswith(b"HTTP/1.1 101")
        return sock

    stays, leaves = open_ws(keep), open_ws(gone)
    idle = socket.create_connection(("127.0.0.1", gone.port), 5)  # keep-alive, between requests
    target = f"/t/{gone.token}/app/acme/track"
    idle.sendall(head("POST", target, {"Host": f"127.0.0.1:{gone.port}"} | JSON, EVENT))
    answered = b""
    while b"reportedIds" not in answered:  # header and body come apart
        answered += idle.recv(65536)
    began = time.monotonic()
    told = house.revoke("acme", gone.prefix)
    assert (told.prefixes, told.listening) == ((gone.prefix,), True)
    assert leaves.recv(65536)[:4] == b"\x88\x02\x03\xf0"  # closed, 1008
    assert leaves.recv(65536) == b""
    assert idle.recv(65536) == b""
    assert time.monotonic() - began < 1
    assert _post(gone) == NOTHING_HERE
    stays.sendall(b"\x81\x80\x00\x00\x00\x00")  # an empty text frame, masked
    assert stays.recv(65536).startswith(b"\x81")
    assert [one.prefix for one in house.tokens().tokens] == [keep.prefix]
    told = house.revoke("acme")
    assert told.listening is False
    assert stays.recv(65536)[:1] == b"\x88"
    for sock in (stays, leaves, idle):
        sock.close()


def test_one_who_reads_nothing_is_cut_off_all_the_same(house: House) -> None:
    """Its answers are still on their way to it, so an ordinary close would wait for it."""
    house.give()  # keeps the gateway open
    token = house.give()
    ids = ",".join(f'{{"id":"{n:05}{"x" * 200}","name":"n"}}' for n in range(2000))
    frame = f'{{"data":[{ids}]}}'.encode()
    sent = b"\x81\xff" + len(frame).to_bytes(8, "big") + bytes(4) + frame  # masked with zeros
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(1)
        sock.connect(("127.0.0.1", token.port))
        headers = {"Host": f"127.0.0.1:{token.port}"} | UPGRADE
        sock.sendall(head("GET", f"/t/{token.token}/app/acme/track", headers))
        assert sock.recv(4096).startswith(b"HTTP/1.1 101")
        with contextlib.suppress(TimeoutError):  # in the end it is not read any more either
            for _ in range(40):
                sock.sendall(sent)
        (connection,) = house.gateway._listener.connections  # type: ignore[union-attr]
        assert connection.transport.get_write_buffer_size() > 0
        began = time.monotonic()
        house.revoke("acme", token.prefix)
        until(lambda: house.connections() == 0)
        assert time.monotonic() - began < 1


def test_the_day_of_the_last_use_is_kept_once_a_day(house: House) -> None:
    token = house.give()
    assert house.tokens().tokens[0].last_used == ""
    _post(token)
    assert house.tokens().tokens[0].last_used == "2025-10-09"
    written = house.file.stat().st_mtime_ns
    _post(token)
    assert house.file.stat().st_mtime_ns == written
    house.now_ms += 86_400_000
    _post(token)
    assert house.tokens().tokens[0].last_used == "2025-10-10"
    assert GatewayTokens(house.file).grants[0].last_used == "2025-10-10"


def test_what_cannot_be_revoked_is_said(house: House) -> None:
    token = house.give()
    for app_id, prefix in (("other", None), ("acme", "nobody")):
        with pytest.raises(RequestFault, match="has no gateway token") as caught:
            house.revoke(app_id, prefix)
        assert caught.value.status == 404
    assert status_of(_post(token)) == 200


@pytest.mark.parametrize("app_id", ["", "../x", "a" * 65, "a b", "ä", "a/b"])
def test_only_an_apps_id_has_a_token(app_id: str, house: House) -> None:
    with pytest.raises(RequestFault, match="no app has the id"):
        house.give(app_id)
    assert not house.file.exists()
    assert not house.gateway.listening


def test_a_web_sites_origin_gives_no_token(house: House) -> None:
    with pytest.raises(RequestFault, match="no web site is let in"):
        house.give("acme", "https://example.com")
    assert not house.file.exists()


def test_a_development_server_is_let_in_with_a_warning_that_stays(house: House) -> None:
    token = house.give("acme", "http://localhost:5173")
    assert "http://localhost:5173" in token.warnings[0]
    assert "http://localhost:5173" in house.board.told["gateway.development"]
    house.run(house.gateway.close())
    house.board.told.clear()
    house.open()
    assert "gateway.development" in house.board.told
    house.revoke()
    assert "gateway.development" not in house.board.told


def test_there_are_a_bounded_number_of_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tokens_module.MOST_TOKENS <= 128  # each is compared at each request
    monkeypatch.setattr(tokens_module, "MOST_TOKENS", 5)
    tokens = GatewayTokens(tmp_path / "gateway.json")
    for n in range(5):
        tokens.give("acme", (), n)
    with pytest.raises(RequestFault, match="5 gateway tokens already"):
        tokens.give("acme", (), 0)
    assert len(GatewayTokens(tokens.path).grants) == 5


def test_a_file_that_is_no_file_of_ours_keeps_the_gateway_shut(house: House) -> None:
    elsewhere = house.file.with_name("elsewhere.json")
    elsewhere.write_text(json.dumps({"port": 1, "grants": []}))
    house.file.symlink_to(elsewhere)
    house.open()
    assert "is a link" in house.board.told["gateway.file"]
    assert not house.gateway.listening
    with pytest.raises(SettingsFault):
        house.give()
    house.file.unlink()
    assert house.give().listening
    assert "gateway.file" not in house.board.told


def test_a_damaged_file_is_said_and_opens_nothing(house: House, expected_warnings: object) -> None:
    expected_warnings("agent.gateway")  # type: ignore[operator]
    token = house.give()
    house.run(house.gateway.close())
    house.file.write_bytes(house.file.read_bytes()[:-20])
    house.open()
    assert "need new tokens" in house.board.told["gateway.file"]
    assert not house.gateway.listening
    again = house.give()
    assert _post(again) != NOTHING_HERE
    knocked = head(
        "POST",
        f"/t/{token.token}/app/acme/track",
        {"Host": f"127.0.0.1:{again.port}"} | JSON,
        EVENT,
    )
    assert knock(again.port, knocked) == NOTHING_HERE
