"""What the local API answers to a request that cannot be: a sentence, a code and the field."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from agent.host import Agent, HostDoor

MakeAgent = Callable[..., tuple[Agent, HostDoor]]


@pytest.fixture
def ask(make_agent: MakeAgent) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Ask a running agent over its Unix socket."""
    agent, _ = make_agent()

    def asking(method: str, path: str, body: str = "") -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(agent.places.socket))
        connection.request(method, path, body)
        response = connection.getresponse()
        said = json.loads(response.read())
        connection.close()
        return response.status, said

    return asking


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing/here", 404),
        ("POST", "/v1/status", 405),
        ("DELETE", "/v1/dead-letters/drop", 405),
    ],
)
def test_a_wrong_path_or_method_is_answered_like_every_other_mistake(
    ask: Callable[..., tuple[int, dict[str, Any]]], method: str, path: str, status: int
) -> None:
    code, said = ask(method, path)
    assert code == status
    assert path in said["error"]
    assert said["code"] == "request"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/send", "{}", "name"),
        ("/v1/send", '{"name":"a","nope":1}', "nope"),
        ("/v1/send", '{"name":"a","wait":"x"}', "wait"),
        ("/v1/pause", '{"for_s":"x"}', "for_s"),
        ("/v1/pause", "x", ""),
    ],
)
def test_a_body_that_does_not_fit_is_answered_with_the_field(
    ask: Callable[..., tuple[int, dict[str, Any]]], path: str, body: str, field: str
) -> None:
    code, said = ask("POST", path, body)
    assert (code, said["field"]) == (400, field)
    assert said["error"].startswith("the body does not fit: ")
