"""`outbox`: what waits, what was refused, and what a person decides about it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.door import Depth, QueuedEvent, Status

QUEUED = tuple(
    QueuedEvent(
        id=f"w{n}", app_id="acme-notes", accepted_ms=n, body=f'{{"type":"event","name":"n{n}"}}'
    )
    for n in range(3)
)
DEAD = (
    QueuedEvent(
        id="d1", app_id="acme-notes", accepted_ms=1, body="{}", reason="413", detail="too large"
    ),
    QueuedEvent(id="d2", app_id="other", accepted_ms=2, body="{}", reason="413"),
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
    assert "  refused: 413: too large\n" in full.said
    full.door.dead = ()
    full.run("outbox", "list", "--dead")
    assert full.said == "No dead letters.\n"


def test_an_export_is_private_and_can_be_imported_again(full: Any, tmp_path: Path) -> None:
    file = tmp_path / "rescued.ndjson"
    assert full.run("outbox", "export", str(file)) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    frames = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert frames[0] == {"appId": "acme-notes", "data": [{"type": "event", "name": "n0"}]}
    assert len(frames) == 3
    assert full.run("outbox", "export", str(file)) == 64  # never over a file that is there
    assert "cannot be written" in full.complained
    assert full.run("outbox", "export", "-") == 0
    assert full.said == file.read_text("utf-8")


def test_an_export_that_is_not_complete_says_so(
    full: Any, status_of: Callable[..., Status]
) -> None:
    full.door.now = status_of(depth=Depth(events=5_000))
    assert full.run("outbox", "export", "-") == 1
    assert "5,000 were there, the agent gave 3" in full.complained


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
