"""An app's id is a stranger's text: it is refused, or it names nothing on the disk (row 33)."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.adapters.records.spool import prefix
from agent.door.apps import AllowApp
from agent.host import Agent, HostDoor
from tracking.errors import RequestFault

ESCAPES = ("../../got-away-7", "/got-away-7", "a/got-away-7", "..")
HOSTILE = (*ESCAPES, "a\\b", "a\0b", "a" * 65, "ä", "-rf *")


def knock(path: Path, app_id: str) -> int:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    with contextlib.closing(connection):
        target = f"/app/{quote(app_id, safe='')}/track"
        connection.request("POST", target, '{"data":[{"name":"e"}]}')
        return connection.getresponse().status


@given(app_id=st.text(max_size=200))
@example(app_id="../../x")
@example(app_id="")
def test_row_33_whatever_the_id_its_files_are_called_by_digits(app_id: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}-", prefix(app_id))


def test_row_33_no_id_makes_a_file_of_its_name(
    folder: Path, make_agent: Callable[..., tuple[Agent, HostDoor]]
) -> None:
    agent, door = make_agent()
    for app_id in HOSTILE:
        with pytest.raises(RequestFault, match="id is 1 to 64"):
            door.ask(AllowApp(app_id=app_id, new=True))
        assert knock(agent.places.socket, app_id) in (400, 403, 404)
    assert door.ask(AllowApp(app_id="got-away-7", new=True)) is not None
    door.send("e", app_id="got-away-7")
    assert not list(folder.parent.rglob("*got-away-7*"))
