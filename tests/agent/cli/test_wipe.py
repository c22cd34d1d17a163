"""`wipe`: nothing stays, nothing else goes, and nobody is surprised."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.machine.lock import Lock
from agent.adapters.machine.places import Places
from tracking.errors import AgentGone


@pytest.fixture
def used(desk: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A desk before an agent that has been at work here and is not running now."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    places = Places.find({"HOMING_HOME": str(desk.home)}).prepare()
    places.settings_file.write_text(
        '[[apps]]\nid = "acme-notes"\nname = "Acme Notes"\n'
        '[[apps.upstreams]]\nkind = "nucleus"\nendpoint = "ws://127.0.0.1:7780"\n'
        'data_api = "http://127.0.0.1:7780"\n',
        "utf-8",
    )
    for name in ("outbox.db", "outbox.db-wal", "collector/store.db"):
        file = places.data / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("rows", "utf-8")
    places.device_key.write_text("00" * 32, "utf-8")
    places.device_key.chmod(0o600)
    (places.logs / "agent.log").write_text("lines", "utf-8")
    desk.door = None
    return desk


def test_everything_goes_and_the_list_says_what_went(used: Any) -> None:
    assert used.run("wipe", "--yes") == 0
    assert not used.home.exists()
    for name in ("data", "state", "logs", "config"):
        assert f"removed {used.home / name}\n" in used.said
    assert "removed device key: " in used.said
    assert used.run("wipe", "--yes") == 0
    assert used.said == "There was nothing to remove.\n"


def test_the_list_as_json(used: Any) -> None:
    assert used.run("wipe", "--yes", "--json") == 0
    told = json.loads(used.said)
    assert str(used.home / "data") in told["removed"]
    assert told["kept"] == []


def test_what_is_not_ours_stays(used: Any, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("years", "utf-8")
    (used.home / "beside").write_text("mine", "utf-8")
    (used.home / "data" / "link").symlink_to(precious)
    assert used.run("wipe", "--yes") == 0
    assert (precious / "thesis").read_text("utf-8") == "years"
    assert (used.home / "beside").exists()
    assert not (used.home / "data").exists()


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_a_person_is_asked_with_the_folders_named(used: Any, answer: str, gone: bool) -> None:
    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    used.inward = Person(answer)
    assert used.run("wipe") == (0 if gone else 1)
    assert str(used.home / "data") in used.complained
    assert used.home.exists() != gone


def test_without_a_person_it_refuses(used: Any) -> None:
    assert used.run("wipe") == 64
    assert (used.home / "data" / "outbox.db").exists()


def test_a_running_agent_is_stopped_first(used: Any) -> None:
    asked: list[str] = []

    class Stopping:
        def stop(self) -> None:
            asked.append("stop")

        def status(self) -> Any:
            if asked:
                raise AgentGone("it has ended")
            return type("Status", (), {"depth": type("Depth", (), {"events": 214})})

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    used.door, used.inward = Stopping(), Person("y\n")
    assert used.run("wipe") == 0
    assert asked == ["stop"]
    assert "214 events not delivered yet will be lost." in used.complained
    assert not used.home.exists()


def test_an_agent_that_will_not_stop_keeps_its_files(
    used: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.cli.wipe.STOPPING_S", 0.2)
    places = Places.find({"HOMING_HOME": str(used.home)})
    with Lock.take(places.lock, now_ms=time.time_ns() // 1_000_000):
        assert used.run("wipe", "--yes") == 75
    assert (used.home / "data" / "outbox.db").exists()


def test_unreadable_settings_do_not_save_the_data_but_are_told(used: Any) -> None:
    (used.home / "config" / "homing.toml").write_text("[", "utf-8")
    assert used.run("wipe", "--yes") == 1
    assert "settings file that names them is unreadable" in used.complained
    assert not used.home.exists()


def test_a_home_folder_is_never_the_agents(
    used: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(used.home))
    assert used.run("wipe", "--yes") == 78
    assert "may hold more than the agent's own files" in used.complained
    assert (used.home / "data" / "outbox.db").exists()


def test_the_question_names_what_is_there_and_the_store_of_the_far_end_here(used: Any) -> None:
    used.run("wipe")
    assert f"  {used.home / 'data'}\n" in used.complained
    assert "with all that the far end on this computer has stored" in used.complained
    assert used.run("wipe", "--yes") == 0
    used.run("wipe")
    assert str(used.home / "data") not in used.complained
    assert "far end" not in used.complained
