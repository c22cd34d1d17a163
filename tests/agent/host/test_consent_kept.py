"""What a person answered outlives the agent, its upgrade, a damaged file and a SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters.local.asking import LocalAddress
from agent.client import LocalDoor
from agent.door import Door
from agent.door.apps import AllowApp, DenyApp, NotNow, PauseApp, ResumeApp, ShowConsent
from agent.host import Agent, HostDoor
from tests.agent.host.conftest import APPS
from tracking.errors import AgentGone, RequestFault, StorageFault

MakeAgent = Callable[..., tuple[Agent, HostDoor]]
CANARY = "canary-6f1f0c"


def answers(agent: Agent) -> Path:
    return agent.places.state / "consents.json"


def consents(door: Door) -> dict[str, tuple[str, str]]:
    return {app.app_id: (app.consent, app.consent_from) for app in door.status().apps}


def test_answers_outlive_the_agent_in_a_file_of_ours_alone(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    door.ask(AllowApp(app_id="stranger", name="A Stranger", new=True))
    door.ask(DenyApp(app_id="acme-notes", reason="no thanks"))
    door.ask(PauseApp(app_id="acme-ci", for_s=3600))
    for app_id in ("other",):
        with pytest.raises(RequestFault):
            door.send("knock", app_id=app_id)
        door.ask(NotNow(app_id=app_id))
    before = consents(door)
    agent.stop()
    assert stat.S_IMODE(answers(agent).stat().st_mode) == 0o600
    _, again = make_agent()
    del before["other"]  # who only knocked is not kept
    assert consents(again) == before
    assert before == {
        "acme-notes": ("denied", "you"),
        "acme-ci": ("paused", "you"),
        "stranger": ("allowed", "you"),
    }
    shown = again.ask(ShowConsent(app_id="stranger"))
    assert (shown.name, shown.far_ends) == ("A Stranger", ("ws://127.0.0.1:9",))
    assert {link.app_id for link in again.status().links} == {"stranger"}
    with pytest.raises(RequestFault):
        again.send("knock", app_id="other")
    assert not again.ask(ShowConsent(app_id="other")).asking  # "not now" was kept


def test_an_end_that_came_while_no_agent_ran_has_come(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    door.ask(PauseApp(app_id="acme-notes", for_s=0.2))
    door.ask(DenyApp(app_id="acme-ci", for_s=0.2))
    agent.stop()
    time.sleep(0.3)
    _, again = make_agent()
    assert set(consents(again).values()) == {("allowed", "settings file")}


def test_a_file_of_a_later_version_is_read_as_far_as_it_is_understood(
    make_agent: MakeAgent,
) -> None:
    agent, door = make_agent()
    door.ask(DenyApp(app_id="acme-notes"))
    agent.stop()
    kept = json.loads(answers(agent).read_bytes())
    kept["apps"]["acme-notes"]["colour"] = "red"
    kept["further"] = {"a": 1}
    answers(agent).write_text(json.dumps(kept))
    _, again = make_agent()
    assert consents(again)["acme-notes"] == ("denied", "you")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00" * 64,
        b'{"apps":{"acme-notes":{"verdict":"denied","since_ms":',
        b'{"apps":{"acme-notes":{"verdict":"maybe","since_ms":1}}}',
        b'{"apps":[]}',
        b"x" * 2_000_000,
    ],
)
def test_damaged_answers_lead_to_pending_and_never_to_allowed(
    make_agent: MakeAgent, expected_warnings: Callable[..., None], damage: bytes
) -> None:
    expected_warnings("agent.consent")
    agent, door = make_agent()
    door.send("kept", app_id="acme-notes")
    door.ask(DenyApp(app_id="acme-notes", keep=True))
    agent.stop()
    answers(agent).write_bytes(damage)
    agent, door = make_agent()
    assert set(consents(door).values()) == {("pending", "not known any more")}
    assert "consent.lost" in {notice.code for notice in door.status().notices}
    assert door.status().links == ()
    with pytest.raises(RequestFault, match="not allowed"):
        door.send("unheard", app_id="acme-ci")

    agent.stop()  # the file is whole again by now, and yet nobody is allowed by it
    agent, door = make_agent()
    assert set(consents(door).values()) == {("pending", "not known any more")}
    door.ask(AllowApp(app_id="acme-ci"))
    assert consents(door)["acme-ci"] == ("allowed", "you")
    assert consents(door)["acme-notes"][0] == "pending"
    door.ask(DenyApp(app_id="acme-notes", keep=True))
    assert "consent.lost" not in {notice.code for notice in door.status().notices}


def test_answers_that_somebody_else_put_there_are_no_answers(
    make_agent: MakeAgent, expected_warnings: Callable[..., None], tmp_path: Path
) -> None:
    """A link, which may lead into somebody else's hands (SECURITY.md, "Storage")."""
    expected_warnings("agent.consent")
    agent, _ = make_agent()
    agent.stop()
    theirs = tmp_path / "theirs.json"
    theirs.write_text('{"apps":{"stranger":{"verdict":"allowed","since_ms":1}}}')
    answers(agent).unlink(missing_ok=True)
    answers(agent).symlink_to(theirs)
    _, door = make_agent()
    assert set(consents(door).values()) == {("pending", "not known any more")}
    assert not answers(agent).is_symlink()
    assert "stranger" in theirs.read_text()


def test_an_answer_that_cannot_be_written_holds_and_says_for_how_long(
    make_agent: MakeAgent,
    expected_warnings: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected_warnings("agent.consent")
    _, door = make_agent()

    def full(*_: object) -> None:
        raise StorageFault("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("agent.runtime.people.consents.write_private", full)
        assert "the disk is full" in door.ask(DenyApp(app_id="acme-notes")).unkept
        for answer in (
            PauseApp(app_id="acme-ci", for_s=3600),
            PauseApp(),
            AllowApp(app_id="stranger", new=True),
        ):
            assert "the disk is full" in door.ask(answer).unkept
    assert consents(door)["acme-notes"] == ("denied", "you")
    status = door.status()
    assert status.sentence.state == "attention"
    assert "until the agent stops" in status.sentence.text
    assert door.ask(ResumeApp()).unkept == ""
    assert "consent.kept" not in {notice.code for notice in door.status().notices}


def test_a_purge_that_was_interrupted_is_finished_by_the_next_start(make_agent: MakeAgent) -> None:
    """What a SIGKILL between answer and deletion leaves: a denial, and all its rows."""
    agent, door = make_agent()
    door.send(CANARY, app_id="acme-notes")
    agent.stop()
    assert holding(agent, CANARY)
    answers(agent).write_text('{"apps":{"acme-notes":{"verdict":"denied","since_ms":1}}}')
    answers(agent).chmod(0o600)
    agent, door = make_agent()
    deadline = time.monotonic() + 10
    while not json.loads(answers(agent).read_bytes())["apps"]["acme-notes"].get("purged"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert door.outbox() == ()
    agent.stop()
    assert holding(agent, CANARY) == []


def test_a_denial_with_keep_is_not_purged_by_a_start(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    door.send("kept", app_id="acme-notes")
    door.ask(DenyApp(app_id="acme-notes", keep=True))
    agent.stop()
    _, again = make_agent()
    assert again.ask(ShowConsent(app_id="acme-notes")).waiting == 2
    assert consents(again)["acme-notes"] == ("denied", "you")


def test_what_waits_of_an_app_that_nobody_names_any_more_is_counted_once(
    make_agent: MakeAgent,
) -> None:
    one, two = APPS.split("[[apps]]")[1:]
    agent, door = make_agent(f"[[apps]]{one}[[apps]]{two}")
    door.send("first", app_id="acme-notes")
    door.send("waits", app_id="acme-ci")
    kept = door.status().depth.events
    agent.stop()
    _, again = make_agent(f"[[apps]]{one}")
    status = again.status()
    assert {app.app_id: app.pending for app in status.apps} == {"acme-notes": 2, "acme-ci": 2}
    assert (status.depth.events, kept) == (4, 4)
    told = {notice.code: notice.text for notice in status.notices}
    assert told["app.undeclared.acme-ci"].startswith("2 events of acme-ci wait, but")


def holding(agent: Agent, word: str) -> list[Path]:
    """Return the files that hold a word, in any of the agent's folders."""
    home = agent.places.home
    assert home is not None
    files = (file for file in home.rglob("*") if file.is_file() and not file.is_symlink())
    return [file for file in files if word.encode() in file.read_bytes()]


@pytest.mark.system
def test_a_kill_at_any_moment_of_a_denial_leaves_all_or_nothing(folder: Path) -> None:
    """Three kills, each a little later: the app is as before with its rows, or denied without."""
    (folder / "config").mkdir(mode=0o700)
    (folder / "config" / "homing.toml").write_text(APPS)
    env = {"HOMING_HOME": str(folder), "PATH": "/usr/bin:/bin"}
    denied_once = False
    for after_s in (0.0, 0.004, 0.05):
        child, door = start(env, folder)
        if door.ask(ShowConsent(app_id="acme-notes")).consent == "denied":
            door.ask(AllowApp(app_id="acme-notes"))
        for n in range(20):
            door.send(f"{CANARY}-{n}", app_id="acme-notes")
        asker = subprocess.Popen(
            [sys.executable, "-m", "homing", "apps", "deny", "acme-notes", "--yes"],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        kept = folder / "state" / "consents.json"
        deadline = time.monotonic() + 20
        while asker.poll() is None and not (kept.exists() and b"denied" in kept.read_bytes()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(after_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        asker.wait()
        child, door = start(env, folder)
        shown = door.ask(ShowConsent(app_id="acme-notes"))
        deadline = time.monotonic() + 20
        while shown.consent == "denied" and shown.waiting:
            assert time.monotonic() < deadline
            shown = door.ask(ShowConsent(app_id="acme-notes"))
        assert (shown.consent, bool(shown.waiting)) in {("allowed", True), ("denied", False)}
        denied_once = denied_once or shown.consent == "denied"
        child.send_signal(signal.SIGTERM)
        child.wait(20)
    assert denied_once


def start(env: dict[str, str], folder: Path) -> tuple[subprocess.Popen[bytes], LocalDoor]:
    child = subprocess.Popen(
        [sys.executable, "-m", "homing", "agent"], env=env, stderr=subprocess.DEVNULL
    )
    door = LocalDoor(LocalAddress(path=str(folder / "run" / "agent.sock")))
    deadline = time.monotonic() + 30
    while True:
        try:
            door.status()
        except AgentGone:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return child, door


def test_only_this_user_may_read_the_answers_whatever_the_umask(make_agent: MakeAgent) -> None:
    agent, door = make_agent()
    before = os.umask(0)
    try:
        door.ask(DenyApp(app_id="acme-notes"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(answers(agent).stat().st_mode) == 0o600
