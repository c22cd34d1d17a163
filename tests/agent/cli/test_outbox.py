"""`outbox`: what waits, what was refused, and what a person decides about it."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.cli.entrance import Entrance
from agent.door import AppStatus, Depth, QueuedEvent, Status

QUEUED = tuple(
    QueuedEvent(
        id=f"w{n}", app_id="acme-notes", accepted_ms=n, body=f'{{"type":"event","name":"n{n}"}}'
    )
    for n in range(3)
)
DEAD = (
    QueuedEvent(
        id="d1",
        app_id="acme-notes",
        accepted_ms=1,
        body="{}",
        reason="refused",
        detail="too large (TOO_LARGE)",
        upstream="vendor",
    ),
    QueuedEvent(id="d2", app_id="other", accepted_ms=2, body="{}", reason="unacknowledged"),
)


@pytest.fixture
def full(desk: Any, status_of: Callable[..., Status]) -> Any:
    """Three events wait, two are dead."""
    desk.door.queued, desk.door.dead = QUEUED, DEAD
    desk.door.now = status_of(depth=Depth(events=3, dead=2))
    return desk


def test_what_waits_is_listed_oldest_first(full: Any) -> None:
    assert full.run("outbox") == 0
    lines = full.said.splitlines()
    assert lines[0].endswith(" acme-notes w0")
    assert lines[1] == '  {"type":"event","name":"n0"}'
    assert full.run("outbox", "list", "--limit", "1", "--app", "x", "--json") == 0
    assert full.door.asked[-1] == ("outbox", ("x", 1))
    assert [event["id"] for event in json.loads(full.said)] == ["w0"]


def test_dead_letters_are_listed_with_the_far_ends_words(full: Any) -> None:
    assert full.run("outbox", "list", "--dead") == 0
    lines = full.said.splitlines()
    assert lines[0].endswith(" acme-notes/vendor d1")
    assert lines[1] == "  refused: too large (TOO_LARGE)"
    assert lines[3].endswith(" other d2")
    assert lines[4] == "  never acknowledged"
    assert full.run("outbox", "list", "--dead", "--json") == 0
    assert [letter["upstream"] for letter in json.loads(full.said)] == ["vendor", ""]
    full.door.dead = ()
    full.run("outbox", "list", "--dead")
    assert full.said == "No dead letters.\n"


class Exporting:
    """The agent's end of an export: answers each connection with what an app has waiting."""

    def __init__(self, events: Mapping[str, list[bytes]], *, cut: bool = False) -> None:
        self.events = events
        self.cut = cut
        self.threads: list[threading.Thread] = []

    def connect(self) -> Entrance:
        """Open a connection to it."""
        ours, theirs = socket.socketpair()
        self.threads.append(threading.Thread(target=self._answer, args=(theirs,)))
        self.threads[-1].start()
        return Entrance(ours)

    def _answer(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rwb") as stream:
            first = stream.readline().decode()
            while stream.readline().strip():
                pass
            app = first.split()[1].partition("app=")[2]
            if app not in self.events:
                stream.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            stream.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for event in self.events[app]:
                chunk = event + b"\n"
                stream.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            if not self.cut:
                stream.write(b"0\r\n\r\n")

    def join(self) -> None:
        """Wait until every connection was answered."""
        for thread in self.threads:
            thread.join(10)


@pytest.fixture
def exporting(full: Any, status_of: Callable[..., Status]) -> Iterator[Any]:
    """Three events of one app wait."""
    app = AppStatus(
        app_id="acme-notes", name="", consent="allowed", consent_from="", pending=3, dead=1
    )
    full.door.now = status_of(depth=Depth(events=3, dead=2), apps=(app,))
    full.agent = Exporting({"acme-notes": [event.body.encode() for event in QUEUED]})
    full.entrance = full.agent.connect
    yield full
    full.agent.join()


def test_an_export_is_private_and_can_be_imported_again(exporting: Any, tmp_path: Path) -> None:
    file = tmp_path / "rescued.ndjson"
    assert exporting.run("outbox", "export", str(file)) == 0
    assert exporting.complained == f"3 events exported to {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    frames = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert frames[0] == {"appId": "acme-notes", "data": [{"type": "event", "name": "n0"}]}
    assert len(frames) == 3
    assert exporting.run("outbox", "export", str(file)) == 64  # never over a file that is there
    assert "cannot be written: File exists" in exporting.complained
    assert exporting.run("outbox", "export", "-") == 0
    assert exporting.said == file.read_text("utf-8")
    assert exporting.run("outbox", "export", "-", "--limit", "1") == 0
    assert exporting.said.count("\n") == 1


def test_a_bucket_call_is_exported_as_an_item_of_bulk(exporting: Any) -> None:
    call = b'{"id":"x1","at":1760000000000,"type":"event","call":{"event":"e","userId":7}}'
    exporting.agent.events["acme-notes"] = [call]
    exporting.run("outbox", "export", "-")
    assert json.loads(exporting.said) == {
        "appId": "acme-notes",
        "calls": [
            {"type": "event", "event": "e", "userId": "7", "timestamp": "2025-10-09T08:53:20.000Z"}
        ],
    }


def test_an_export_as_json_says_how_many(exporting: Any, tmp_path: Path) -> None:
    assert exporting.run("outbox", "export", str(tmp_path / "f"), "--json") == 0
    assert json.loads(exporting.said) == {"exported": 3, "there": 3}


def test_dead_letters_are_exported_too(exporting: Any) -> None:
    assert exporting.run("outbox", "export", "-", "--dead") == 0
    assert [json.loads(line)["appId"] for line in exporting.said.splitlines()] == [
        "acme-notes",
        "other",
    ]


def test_an_export_that_is_not_complete_says_so(
    exporting: Any, status_of: Callable[..., Status]
) -> None:
    app = AppStatus(app_id="acme-notes", name="", consent="allowed", consent_from="", pending=5_000)
    exporting.door.now = status_of(apps=(app,))
    assert exporting.run("outbox", "export", "-") == 1
    assert "5,000 were there when it began, 3 were exported" in exporting.complained


def test_an_export_that_breaks_off_leaves_no_half_file(exporting: Any, tmp_path: Path) -> None:
    exporting.agent.cut = True
    file = tmp_path / "half"
    assert exporting.run("outbox", "export", str(file)) == 69
    assert not file.exists()
    assert exporting.run("outbox", "export", str(file), "--app", "stranger") == 1
    assert not file.exists()


def test_retry_offers_all_dead_letters_or_those_of_one_app(full: Any) -> None:
    assert full.run("outbox", "retry") == 0
    assert full.said == "2 events offered again.\n"
    assert full.run("outbox", "retry", "--app", "other", "--json") == 0
    assert json.loads(full.said) == {"offered": 1}
    assert [words for what, words in full.door.asked if what == "retry dead"] == [
        (None,),
        (("d2",),),
    ]


def test_drop_refuses_to_guess_where_nobody_can_be_asked(full: Any) -> None:
    assert full.run("outbox", "drop") == 64
    assert "Say --yes if you mean it." in full.complained
    assert ("drop dead", (None,)) not in full.door.asked


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("\n", 1), ("n\n", 1)])
def test_drop_asks_a_person(full: Any, answer: str, code: int) -> None:
    full.inward = _terminal(answer)
    assert full.run("outbox", "drop") == code
    assert "Delete 2 events for good?" in full.complained
    assert (("drop dead", (None,)) in full.door.asked) == (code == 0)


def test_drop_with_yes_does_not_ask(full: Any) -> None:
    assert full.run("outbox", "drop", "--yes", "--app", "other") == 0
    assert full.said == "1 event dropped.\n"
    assert not full.complained


def test_a_file_belongs_to_an_export_only(full: Any) -> None:
    assert full.run("outbox", "list", "somewhere") == 64
    assert full.run("outbox", "export") == 64


def _terminal(text: str) -> io.StringIO:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    return Terminal(text)
