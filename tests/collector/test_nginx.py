"""A real nginx on the example configuration, with a certificate of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from collectors import Collector, until

EXAMPLE = Path(__file__).parents[2] / "packaging" / "collector" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
HOST = "collector.example.org"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={HOST}"),
            *("-addext", f"subjectAltName=DNS:{HOST}"),
            *("-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return folder


class Proxy:
    """nginx, before one collector."""

    def __init__(self, folder: Path, certificate: Path, collector_port: int) -> None:
        self.port, plain = _free_port(), _free_port()
        text = EXAMPLE.read_text()
        for old, new in (
            ("127.0.0.1:7780", f"127.0.0.1:{collector_port}"),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            (f"/etc/letsencrypt/live/{HOST}", str(certificate)),
        ):
            assert old in text
            text = text.replace(old, new)
        text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)  # not every machine
        folder.mkdir()
        (folder / "homing.conf").write_text(text)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        (folder / "nginx.conf").write_text(
            ("user root;\n" if os.getuid() == 0 else "")
            + f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\nhttp {{\n"
            + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
            + f"include {folder}/homing.conf;\n}}\n"
        )
        self.plain = plain
        self.words = [NGINX, "-p", str(folder), "-e", str(folder / "error.log")]
        self.words += ["-c", str(folder / "nginx.conf")]
        self.trust = ssl.create_default_context(cafile=certificate / "fullchain.pem")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([*self.words, "-g", "daemon off;"])

        def open_() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            return False

        until(open_)

    def tls(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        sock = socket.create_connection(("127.0.0.1", self.port), 20, (source, 0))
        return self.trust.wrap_socket(sock, server_hostname=HOST)

    def request(
        self, method: str, path: str, body: Any = None, source: str = "127.0.0.1", **headers: str
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST)
        connection.sock = self.tls(source)
        with contextlib.closing(connection):
            raw = body if isinstance(body, bytes) or body is None else json.dumps(body)
            connection.request(
                method, path, raw, {k.replace("_", "-"): v for k, v in headers.items()}
            )
            response = connection.getresponse()
            return response.status, response.read()

    def ws(self, path: str, source: str = "127.0.0.1") -> websocket.WebSocket:
        client = websocket.WebSocket()
        client.connect(f"wss://{HOST}{path}", socket=self.tls(source), timeout=20)
        return client


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def proxied(
    run: Callable[..., Collector], tmp_path: Path, certificate: Path
) -> Iterator[tuple[Collector, Proxy]]:
    far_end = run(
        *("--trusted-proxies", "127.0.0.1", "--peer-burst", "2000", "--peer-events-per-s", "0.01")
    )
    far_end.app("A")
    proxy = Proxy(tmp_path / "nginx", certificate, far_end.port)
    proxy.start()
    yield far_end, proxy
    assert proxy.process is not None
    proxy.process.terminate()
    assert proxy.process.wait(10) == 0


def test_nginx_finds_no_mistake_in_the_example(tmp_path: Path, certificate: Path) -> None:
    proxy = Proxy(tmp_path / "nginx", certificate, 7780)
    done = subprocess.run(
        [*proxy.words, "-t"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_requests_and_websockets_pass_through_tls(proxied: tuple[Collector, Proxy]) -> None:
    far_end, proxy = proxied
    token = far_end.app("A", "admin")
    event = {"data": [{"name": "E", "id": 1, "machineId": "m"}]}
    assert proxy.request("POST", "/app/A/track", event) == (200, b'{"reportedIds":[1]}')
    path = "/api/v1/apps/A/analytics/quickglance"
    status, said = proxy.request("GET", path, Authorization=token)
    assert (status, json.loads(said)["data"]["users"]) == (200, 1)

    ws = proxy.ws("/app/A/track")
    padding = "x" * 20_000
    large = [
        {"name": "E", "id": f"l{n}", "machineId": "m", "payload": {"text": padding}}
        for n in range(90)
    ]
    ws.send(json.dumps({"data": large * 12}))  # 21 MB in one frame
    assert len(json.loads(ws.recv())["reportedIds"]) == 90 * 12
    ws.close()

    too_large = b"x" * (9 * 1024 * 1024)  # the collector's own answer, not a proxy's page
    status, said = proxy.request("POST", "/app/A/track", too_large)
    assert (status, json.loads(said)["reportedIds"]) == (413, [])
    assert proxy.request("GET", "/metrics")[0] == 404
    assert proxy.request("GET", "/readyz")[0] == 200


def test_61_each_sender_has_its_own_limits_behind_it(proxied: tuple[Collector, Proxy]) -> None:
    _, proxy = proxied
    events = {"data": [{"name": "E", "id": n, "machineId": "m"} for n in range(1500)]}
    for source in ("127.0.0.2", "127.0.0.3"):
        answers = [
            proxy.request("POST", "/app/A/track", events, source, X_Forwarded_For=f"6.6.6.{n}")[0]
            for n in range(3)
        ]
        assert answers == [200, 429, 429]


def test_a_drain_is_told_through_it(proxied: tuple[Collector, Proxy]) -> None:
    far_end, proxy = proxied
    ws = proxy.ws("/app/A/track")
    far_end.process.send_signal(signal.SIGTERM)
    frame = ws.recv_frame()
    assert frame.opcode == websocket.ABNF.OPCODE_CLOSE
    assert struct.unpack("!H", frame.data[:2]) == (1012,)
    ws.shutdown()
    assert far_end.process.wait(10) == 0


def test_plain_http_is_sent_to_tls(proxied: tuple[Collector, Proxy]) -> None:
    _, proxy = proxied
    connection = http.client.HTTPConnection("127.0.0.1", proxy.plain, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/app/A/track", headers={"Host": HOST})
        response = connection.getresponse()
        assert response.status == 301
        assert response.headers["Location"] == f"https://{HOST}/app/A/track"
