"""Whom the link believes: row 36 of the threat model, with certificates of our own."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from far_ends import Authority, FarEnd, Listener, RawFarEnd, frame, hold, upgrade
from websockets.sync.server import ServerConnection

from agent.adapters.roads.tls import client_context
from agent.rules.link import Heard, Lost, Opened, Received
from tracking.errors import SettingsFault, Unproven, Unreachable

Links = Callable[..., Listener]
FarEnds = Callable[..., FarEnd]
RawFarEnds = Callable[..., RawFarEnd]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_far_end_whose_authority_is_named_is_believed(
    listener: Links, far_end: FarEnds, authority: Authority, host: str
) -> None:
    there = far_end(tls=authority.server())
    here = listener(ca_file=authority.ca_file)
    here.connect(f"wss://{host}:{there.port}/a/")
    assert here.next() == Opened(1)
    here.link.send(1, b'{"data":[{"id":"a1"}]}')
    assert here.wait(Received).ids == ("a1",)
    here.link.heartbeat(1, b'{"data":[{"type":"heartbeat"}]}')
    here.wait((Heard, Received))


def test_megabytes_pass_through_tls_in_both_directions(
    listener: Links, far_end: FarEnds, authority: Authority
) -> None:
    def two_in_one(here: FarEnd, ws: ServerConnection) -> None:
        for text in filter(None, ws):
            ids = [event["id"] for event in json.loads(text)["data"]]
            ws.send(json.dumps({"reportedIds": ids[:250]}))
            ws.send(json.dumps({"reportedIds": ids[250:]}))

    there = far_end(two_in_one, tls=authority.server())
    here = listener(ca_file=authority.ca_file, send_s=5.0, read_s=5.0)
    here.connect(f"wss://localhost:{there.port}/a/")
    ids = [f"{n:022d}" for n in range(500)]
    body = ",".join(f'{{"id":"{one}","payload":{{"x":"{"y" * 450}"}}}}' for one in ids)
    for _ in range(8):
        here.link.send(1, b"")  # an empty frame is a frame
        here.link.send(1, f'{{"data":[{body}]}}'.encode())
    got: list[str] = []
    while len(got) < 4000:
        got += here.wait(Received).ids
    assert got == ids * 8


def test_many_frames_in_one_tls_record_are_all_read(
    listener: Links, raw_far_end: RawFarEnds, authority: Authority
) -> None:
    """TLS has them decrypted at once; the socket shows nothing more to read."""
    context = authority.server()

    def all_at_once(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            upgrade(secure)
            secure.sendall(b"".join(frame(b'{"reportedIds":["%d"]}' % n) for n in range(500)))
            hold(secure)

    here = listener(ca_file=authority.ca_file)
    here.connect(f"wss://localhost:{raw_far_end(all_at_once).port}/a/")
    assert [here.wait(Received).ids for _ in range(500)] == [(str(n),) for n in range(500)]


def test_an_unknown_authority_proves_nothing(
    listener: Links, far_end: FarEnds, authority: Authority
) -> None:
    there = far_end(tls=authority.server())
    here = listener()
    here.connect(f"wss://localhost:{there.port}/a/")
    assert isinstance(here.wait(Lost).fault, Unproven)
    assert there.paths == []


@pytest.mark.parametrize(
    ("names", "days", "self_signed"),
    [
        (("localhost",), (-1, 30), True),
        (("elsewhere.example", "10.0.0.1"), (-1, 30), False),
        (("localhost",), (-30, -1), False),
        (("localhost",), (1, 30), False),
    ],
    ids=["self-signed", "wrong host", "expired", "not yet valid"],
)
def test_a_certificate_that_does_not_prove_the_name_is_no_road(
    listener: Links,
    far_end: FarEnds,
    authority: Authority,
    names: tuple[str, ...],
    days: tuple[int, int],
    self_signed: bool,
) -> None:
    there = far_end(tls=authority.server(names, days=days, self_signed=self_signed))
    here = listener(ca_file=authority.ca_file)
    here.connect(f"wss://localhost:{there.port}/a/")
    fault = here.wait(Lost).fault
    assert isinstance(fault, Unproven)
    assert fault.advice
    assert there.paths == [], "not one byte of ours was said"


def test_tls_1_1_is_too_old(listener: Links, far_end: FarEnds, authority: Authority) -> None:
    context = authority.server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    there = far_end(tls=context)
    here = listener(ca_file=authority.ca_file)
    here.connect(f"wss://localhost:{there.port}/a/")
    fault = here.wait(Lost).fault
    assert isinstance(fault, Unproven)
    assert fault.why == "protocol"
    assert there.paths == []


def drip(sock: socket.socket) -> None:
    sock.recv(4096)
    for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 10_000:
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


def nonsense(sock: socket.socket) -> None:
    sock.sendall(b"220 mail.example ESMTP\r\n" * 100)


@pytest.mark.parametrize("behave", [hold, drip])
def test_a_tls_handshake_without_end_is_ended_by_the_dials_deadline(
    listener: Links, raw_far_end: RawFarEnds, behave: Callable[[socket.socket], None]
) -> None:
    there = raw_far_end(behave)
    here = listener(dial_s=0.5)
    started = time.monotonic()
    here.connect(f"wss://127.0.0.1:{there.port}/a/")
    fault = here.wait(Lost).fault
    assert "proving the far end's name took longer" in str(fault)
    assert time.monotonic() - started < 1.5


def test_what_speaks_no_tls_is_unreachable(listener: Links, raw_far_end: RawFarEnds) -> None:
    there = raw_far_end(nonsense)
    here = listener()
    here.connect(f"wss://127.0.0.1:{there.port}/a/")
    assert type(here.wait(Lost).fault) is Unreachable


def test_no_environment_variable_of_the_library_adds_trust_or_writes_keys(
    listener: Links,
    far_end: FarEnds,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = tmp_path / "keys.log"
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(authority.ca_file))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    there = far_end(tls=authority.server())
    trusting_nobody = listener()
    trusting_nobody.connect(f"wss://localhost:{there.port}/a/")
    assert isinstance(trusting_nobody.wait(Lost).fault, Unproven)
    trusting = listener(ca_file=authority.ca_file)
    trusting.connect(f"wss://localhost:{there.port}/a/")
    assert trusting.next() == Opened(1)
    assert not keys.exists()


def test_the_operating_systems_own_trust_is_used(
    listener: Links, far_end: FarEnds, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(authority.ca_file))
    there = far_end(tls=authority.server())
    here = listener()
    here.connect(f"wss://localhost:{there.port}/a/")
    assert here.next() == Opened(1)


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nnonsense\n"])
def test_a_ca_file_without_a_certificate_is_a_settings_fault(
    tmp_path: Path, content: str | None
) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    with pytest.raises(SettingsFault, match="ca_file"):
        client_context(ca_file)


def test_a_context_verifies_and_cannot_be_talked_out_of_it() -> None:
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
