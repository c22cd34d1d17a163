"""`doctor`: findings with evidence and repair, with an agent and without one."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.machine.lock import Lock
from agent.adapters.machine.places import Places
from agent.door import Check

FINE = Check(code="clock", title="Clock", verdict="ok", evidence="it agrees")
ODD = Check(code="keyring", title="Keyring", verdict="warning", evidence="none", repair="Get one.")
WRONG = Check(code="disk", title="Disk", verdict="error", evidence="full", repair="Free some.")


def test_the_agents_findings_are_printed_with_what_to_do(desk: Any) -> None:
    desk.door.checks = (FINE, ODD)
    assert desk.run("doctor") == 0
    assert desk.said == ("ok       Clock: it agrees\nwarning  Keyring: none\n         Get one.\n")
    desk.door.checks = (FINE, WRONG)
    assert desk.run("doctor") == 1
    assert desk.run("doctor", "--json") == 1
    assert [check["code"] for check in json.loads(desk.said)] == ["clock", "disk"]


@pytest.fixture
def alone(desk: Any) -> Any:
    """A desk without an agent."""
    desk.door = None
    return desk


def findings(desk: Any) -> dict[str, Any]:
    """Return what the doctor says without an agent, by code."""
    assert desk.run("doctor", "--json") == 69
    return {check["code"]: check for check in json.loads(desk.said)}


def test_without_an_agent_this_computer_is_looked_at(alone: Any) -> None:
    found = findings(alone)
    assert found["agent.gone"]["verdict"] == "error"
    assert {"settings", "socket", "lock", "window"} <= set(found)
    assert found["settings"]["verdict"] == found["socket"]["verdict"] == "ok"
    assert not alone.home.exists(), "looking made something"
    assert alone.run("doctor") == 69
    assert "Start it with `homing`." in alone.said


def test_impossible_settings_are_evidence(alone: Any) -> None:
    file = Places.find({"HOMING_HOME": str(alone.home)}).settings_file
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_text("[outbox]\nmax_mib = 0\n", "utf-8")
    assert "max_mib" in findings(alone)["settings"]["evidence"]


def test_a_stale_socket_and_a_foreign_file_are_told_apart(alone: Any) -> None:
    places = Places.find({"HOMING_HOME": str(alone.home)}).prepare()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(places.socket))
    assert findings(alone)["socket.stale"]["verdict"] == "warning"
    places.socket.unlink()
    places.socket.write_text("not a socket", "utf-8")
    assert findings(alone)["socket.foreign"]["verdict"] == "error"


def test_a_process_that_holds_the_lock_and_does_not_answer_is_named(alone: Any) -> None:
    places = Places.find({"HOMING_HOME": str(alone.home)}).prepare()
    with Lock.take(places.lock, now_ms=time.time_ns() // 1_000_000, address="/run/x.sock") as lock:
        held = findings(alone)["lock.held"]
        assert str(lock.holder.pid) in held["evidence"]
        assert f"kill {lock.holder.pid}" in held["repair"]
    assert findings(alone)["lock"]["verdict"] == "ok"


def test_nobody_is_told_to_kill_a_process_that_was_given_a_dead_agents_number(alone: Any) -> None:
    places = Places.find({"HOMING_HOME": str(alone.home)}).prepare()
    Path(places.lock).write_text(f'{{"pid":{os.getpid()},"started_ms":1,"address":"/x"}}', "utf-8")
    Path(places.lock).chmod(0o600)
    assert findings(alone)["lock"]["evidence"] == f"process {os.getpid()} held it and has died"


def test_a_folder_that_others_can_enter_is_a_warning(alone: Any) -> None:
    places = Places.find({"HOMING_HOME": str(alone.home)}).prepare()
    assert findings(alone)["folders"]["verdict"] == "ok"
    for folder in (places.config, places.data, places.state, places.runtime):
        Path(folder).chmod(0o755)
    found = findings(alone)["folders"]
    assert found["verdict"] == "warning"
    assert found["repair"].startswith("chmod 700 ")


def test_a_runtime_folder_that_cannot_be_believed_is_told(
    alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):  # platformdirs reads the process's own
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    loose = tmp_path / "runtime"
    loose.mkdir(mode=0o755)
    alone.env |= {"HOMING_HOME": "", "XDG_RUNTIME_DIR": str(loose)}
    assert "XDG_RUNTIME_DIR is not used" in findings(alone)["folders.runtime"]["evidence"]
