"""`send`: one event, and what was promised for it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from agent.door import Sent


def test_an_event_is_reported_with_everything_that_was_said(desk: Any) -> None:
    words = ["build.finished", "--app", "acme-ci", "--payload", '{"seconds": 41}']
    assert desk.run("send", *words, "--type", "error", "--timeout", "5") == 0
    assert desk.door.asked == [
        ("send", ("build.finished", "acme-ci", {"seconds": 41}, "error", "durable", 5.0))
    ]
    assert desk.said == "Accepted: 8ZyUbx is safe on this disk.\n"


def test_a_payload_may_come_from_a_file_or_from_standard_input(desk: Any, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"from": "file"}', "utf-8")
    desk.inward = io.StringIO('{"from": "pipe"}\n')
    assert desk.run("send", "x", "--payload", f"@{file}") == 0
    assert desk.run("send", "x", "--payload", "-") == 0
    assert [words[2] for _, words in desk.door.asked] == [{"from": "file"}, {"from": "pipe"}]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ("{seconds: 41}", "--payload is not JSON"),
        ("[1]", "--payload must be a JSON object, got list"),
        ("", "--payload is not JSON"),
        ("@/nowhere/at/all", "/nowhere/at/all cannot be read"),
        ("-", "standard input is not JSON"),
    ],
)
def test_a_payload_that_is_no_object_is_refused_before_anyone_is_asked(
    desk: Any, payload: str, why: str
) -> None:
    assert desk.run("send", "x", "--payload", payload) == 64
    assert why in desk.complained
    assert not desk.door.asked


def test_waiting_for_delivery_is_told_in_words_and_in_the_exit_code(desk: Any) -> None:
    assert desk.run("send", "x", "--wait", "delivered", "--timeout", "2") == 1
    assert desk.said == "Accepted: 8ZyUbx is safe on this disk.\n"
    assert "not confirmed it within 2 s" in desk.complained
    desk.door.sent = Sent(ids=("8ZyUbx",), delivered=True)
    assert desk.run("send", "x", "--wait", "delivered", "--json") == 0
    assert json.loads(desk.said) == {"ids": ["8ZyUbx"], "delivered": True}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\xff\xfe\x00", "standard input is not JSON"),
        (b"[" * 100_000, "standard input is nested too deeply"),
    ],
)
def test_bytes_that_are_no_text_are_refused_and_are_no_mistake_of_ours(
    desk: Any, raw: bytes, why: str
) -> None:
    desk.inward = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8")
    assert desk.run("send", "x", "--payload", "-") == 64
    assert why in desk.complained
    assert not desk.door.asked


@pytest.mark.parametrize(
    "words",
    [
        ["send", "\udcff"],
        ["send", "x", "--app", "\udcff"],
        ["send", "x", "--type", "\udcff"],
        ["pause", "--reason", "\udcff"],
        ["wire", "--app", "\udcff"],
        ["config", "set", "log.level", "\udcff"],
    ],
    ids=" ".join,
)
def test_a_word_that_cannot_travel_as_utf8_is_refused(desk: Any, words: list[str]) -> None:
    assert desk.run(*words) == 64
    assert "is not text in UTF-8" in desk.complained
    assert not desk.door.asked


def test_the_environment_may_name_the_app_and_the_option_wins(
    desk: Any,
) -> None:
    desk.env["HOMING_APP"] = "acme-ci"
    assert desk.run("send", "x") == 0
    assert desk.run("send", "x", "--app", "acme-notes") == 0
    assert [words[1] for _, words in desk.door.asked] == ["acme-ci", "acme-notes"]
