"""What the link's tests stand on; the equipment itself is in files of its own."""

from __future__ import annotations

import contextlib
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

sys.path.insert(0, str(Path(__file__).resolve().parent))  # far_ends: equipment of this room

from far_ends import (
    QUIET,
    Authority,
    Behaviour,
    Courier,
    FarEnd,
    Listener,
    RawFarEnd,
    certificate_for,
    golden,
    name_of,
)
from http_ends import Asker

# they assert on behalf of tests
pytest.register_assert_rewrite("rude_ends", "rule_by_hand")


@pytest.fixture
def listener() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def make(**limits: Any) -> Listener:
        made.append(Listener(**{"dial_s": 1.0, "read_s": 0.4, "send_s": 0.4} | limits))
        return made[-1]

    yield make
    ended = [one.link.stop() for one in made]
    assert all(ended), "a link's thread did not end in 2 s"


@pytest.fixture
def asker() -> Iterator[Callable[..., Asker]]:
    made: list[Asker] = []

    def make(far_end: RawFarEnd, **limits: Any) -> Asker:
        made.append(Asker(f"http://127.0.0.1:{far_end.port}", **limits))
        return made[-1]

    yield make
    ended = [one.link.stop() for one in made]
    assert all(ended), "a link's thread did not end in 2 s"


@pytest.fixture
def courier() -> Iterator[Callable[..., Courier]]:
    made: list[Courier] = []

    def make(endpoint: str, events: int = 0, **limits: Any) -> Courier:
        made.append(Courier(endpoint, events, **limits))
        return made[-1]

    yield make
    ended = [one.link.stop() for one in made]
    assert all(ended), "a link's thread did not end in 2 s"


@pytest.fixture
def far_end() -> Iterator[Callable[..., FarEnd]]:
    """Start a server that talks as ``talk`` says; ``answers`` maps a path to a status."""
    running: list[tuple[FarEnd, threading.Thread]] = []

    def start(
        talk: Callable[[FarEnd, ServerConnection], None] = golden,
        answers: dict[str, int] | None = None,
        extra: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> FarEnd:
        def converse(ws: ServerConnection) -> None:
            with contextlib.suppress(Exception):
                talk(made, ws)

        def admit(ws: ServerConnection, request: Request) -> Response | None:
            made.paths.append(request.path)
            made.headers.append(str(request.headers))
            status = (answers or {}).get(request.path)
            if status is None:
                return None
            response = ws.respond(status, "not today\n")
            for key, value in (extra or {}).items():
                response.headers[key] = value
            return response

        server = serve(
            converse, "127.0.0.1", 0, process_request=admit, ssl=tls, compression=None, logger=QUIET
        )
        made = FarEnd(server)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((made, thread))
        return made

    yield start
    for made, thread in running:
        made.server.shutdown()
        thread.join(2)


@pytest.fixture
def raw_far_end() -> Iterator[Callable[..., RawFarEnd]]:
    running: list[RawFarEnd] = []

    def start(behave: Behaviour) -> RawFarEnd:
        running.append(RawFarEnd(behave))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = ("homing test authority",)
    certificate = certificate_for(name, key, name_of(name[0]), key, days=(-2, 60), authority=True)
    made = Authority(tmp_path_factory.mktemp("authority"), key, certificate)
    made.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return made
