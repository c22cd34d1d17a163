"""`homing apps` against a real agent: what a person types, reads, and is asked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from agent.adapters.local.asking import LocalAddress, open_socket
from agent.cli import main
from agent.cli.entrance import Entrance
from agent.cli.shell import Shell
from agent.client import LocalDoor
from agent.host import Agent, HostDoor
from agent.settings import load
from tests.agent.host.conftest import APPS
from tracking.errors import RequestFault, StorageFault


class Terminal(io.StringIO):
    """Somebody who types these lines."""

    def isatty(self) -> bool:
        return True


class Typed:
    """The command, its output and its exit code."""

    def __init__(self, agent: Agent, door: HostDoor) -> None:
        self.agent, self.door = agent, door
        self.out, self.err = io.StringIO(), io.StringIO()

    def __call__(self, line: str, *, answer: str | None = None) -> int:
        return self.run(f"apps {line}", answer=answer)

    def run(self, line: str, *, answer: str | None = None) -> int:
        self.out, self.err = io.StringIO(), io.StringIO()
        shell = Shell(
            out=self.out,
            err=self.err,
            inward=io.StringIO() if answer is None else Terminal(answer),
            env={"HOMING_HOME": str(self.agent.places.home)},
            door=lambda: LocalDoor(self.agent.places.socket),
            entrance=self._entrance,
        )
        return main(line.split(), shell)

    def _entrance(self) -> Entrance:
        return Entrance(open_socket(LocalAddress(path=str(self.agent.places.socket)), None), "")

    @property
    def said(self) -> str:
        return self.out.getvalue() + self.err.getvalue()

    def knock(self, app_id: str = "stranger") -> None:
        with pytest.raises(RequestFault):
            self.door.send("knock", app_id=app_id)


@pytest.fixture
def apps(make_agent: Callable[..., tuple[Agent, HostDoor]]) -> Typed:
    return Typed(*make_agent())


def test_who_asks_comes_first_with_the_commands_that_answer(apps: Typed) -> None:
    apps.knock()
    apps.knock()
    assert apps("") == 0
    lines = apps.out.getvalue().splitlines()
    assert lines[0] == "stranger wants to report through this computer."
    assert "knocked 2 times" in lines[1]
    assert "offered 2 events" in lines[1]
    assert lines[2].split("    or    ") == [
        "  homing apps allow stranger",
        "homing apps deny stranger",
    ]
    assert "acme-notes: allowed by settings file" in lines
    assert apps("--json") == 0
    shown = {app["app_id"]: app for app in json.loads(apps.out.getvalue())}
    assert shown["stranger"]["asking"] is True


def test_status_and_top_say_it_where_there_is_no_tray(apps: Typed) -> None:
    apps.knock()
    for command in ("status", "top --once"):
        apps.run(command)
        assert "stranger (homing send) wants to report" in " ".join(apps.out.getvalue().split())


def test_allowing_says_where_its_events_go_and_show_repeats_it(apps: Typed) -> None:
    apps.knock()
    assert apps("allow stranger --name Stranger") == 0
    assert "stranger (Stranger): allowed by you" in apps.said
    assert "goes to ws://127.0.0.1:9, as you named no other for it" in apps.said
    assert apps("show stranger") == 0
    assert "goes to ws://127.0.0.1:9" in apps.said
    assert apps("show stranger --json") == 0
    assert json.loads(apps.out.getvalue())["consent"] == "allowed"


def test_declaring_keeps_comments_and_the_far_end_that_it_had(apps: Typed) -> None:
    file = apps.agent.places.settings_file
    file.write_text("# mine\n" + APPS)
    apps.knock()
    assert apps("allow stranger --declare") == 0
    assert "with ws://127.0.0.1:9" in apps.said
    assert file.read_text().startswith("# mine\n")
    app = load(file, {}).app("stranger")
    assert app is not None
    assert [upstream.endpoint for upstream in app.upstreams] == ["ws://127.0.0.1:9"]
    assert apps("allow stranger --declare") == 0
    assert "declared it before" in apps.said


def test_declaring_in_a_file_that_is_wrong_changes_nothing(apps: Typed) -> None:
    file = apps.agent.places.settings_file
    file.write_text("[outbox]\nmax_mib = 'much'\n")
    apps.knock()
    assert apps("allow stranger --declare") == 78
    assert file.read_text() == "[outbox]\nmax_mib = 'much'\n"


def test_a_denial_asks_before_it_deletes(apps: Typed) -> None:
    apps.door.send("kept", app_id="acme-notes")
    assert apps("deny acme-notes") == 64
    assert "nobody is here to be asked" in apps.said
    assert apps("deny acme-notes", answer="no\n") == 64
    assert "2 events not delivered yet will be lost" in apps.said
    assert apps.door.status().apps[0].consent == "allowed"
    assert apps("deny acme-notes --reason unwanted", answer="y\nn\n") == 0
    assert "Ask ws://127.0.0.1:9 to delete what it already has, too?" in apps.said
    assert "denied by you (unwanted)" in apps.said
    assert "Deleted 2 events" in apps.said
    assert "acknowledged and dropped, not kept" in apps.said


def test_a_denial_offers_to_ask_the_far_end_and_says_what_became_of_that(apps: Typed) -> None:
    apps.door.send("kept", app_id="acme-notes")
    assert apps("deny acme-notes", answer="y\ny\n") == 0
    assert "Not asked: nucleus, " in apps.said
    apps.door.send("kept", app_id="acme-ci")
    assert apps("deny acme-ci --yes --remote") == 0
    assert "It has no far end that could be asked" in apps.said


def test_who_left_nothing_here_is_denied_without_a_question(apps: Typed) -> None:
    apps.knock()
    assert apps("deny stranger") == 0
    assert "denied by you" in apps.said


def test_pausing_apps_and_pausing_sending_have_words_of_their_own(apps: Typed) -> None:
    assert apps("pause acme-notes --for 2h --reason talk") == 0
    assert "paused by you (talk)" in apps.said
    assert "then allowed" in apps.said
    assert "dropped, not kept" in apps.said
    assert "ending paused" not in apps.said
    assert apps("resume acme-notes") == 0
    tomorrow = date.today() + timedelta(days=1)
    assert apps(f"pause --all --until {tomorrow}") == 0
    assert f"All apps are paused until {tomorrow} 00:00:00" in apps.said
    assert apps("pause --all") == 0
    assert "All apps are paused until you resume them" in apps.said
    assert apps("") == 0
    assert apps.out.getvalue().startswith("All apps are paused by you.")
    assert apps("resume --all") == 0
    assert "No pause of all apps is in force" in apps.said


def test_an_import_for_an_app_that_is_dropped_does_not_say_that_it_is_safe(
    apps: Typed, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text('{"name":"a"}\n{"appId":"acme-ci","data":[{"name":"b"}]}\n')
    apps("pause acme-ci")
    assert apps.run(f"import {file}") == 1
    assert "1 event safe on this disk" in apps.said
    assert "line 2: nothing is reported for acme-ci: it is paused" in apps.said
    assert {row.app_id for row in apps.door.outbox()} == {"acme-notes"}
    assert apps.run(f"import {file} --app acme-ci") == 64
    apps("pause --all")
    assert apps.run(f"import {file}") == 64
    assert "all apps are paused" in apps.said


def test_an_answer_that_is_not_on_the_disk_is_said_so_and_no_restart_is_advised(
    apps: Typed, monkeypatch: pytest.MonkeyPatch, expected_warnings: Callable[..., None]
) -> None:
    """The restart would undo it."""
    expected_warnings("agent.consent")

    def full(*_: object) -> None:
        raise StorageFault("the disk is full")

    monkeypatch.setattr("agent.runtime.people.consents.write_private", full)
    monkeypatch.setattr("agent.runtime.counter.linting.write_private", full)
    apps.door.send("kept", app_id="acme-notes")
    for line in (
        "deny acme-notes --yes",
        "pause acme-ci --for 1h",
        "allow zz --new",
        "pause --all",
    ):
        assert apps(line) == 1, line
        assert "your answer is not on the disk" in apps.err.getvalue()
        assert "the disk is full" in apps.err.getvalue()
        assert "estart" not in apps.said
        assert apps(f"{line} --json") == 1
        assert json.loads(apps.out.getvalue())["unkept"]
    assert apps("allow zz") == 1  # all apps are paused by now
    assert "Your answer holds, but for now nothing is reported" in apps.said


def test_what_could_not_be_deleted_is_tried_again_after_an_answer_that_is_kept(
    apps: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFault("the disk is full")

    monkeypatch.setattr("agent.runtime.counter.linting.write_private", full)
    assert apps("deny acme-notes --yes") == 1
    assert "could not be deleted yet: the shapes of its events" in apps.err.getvalue()
    assert "tried again at the agent's next start" in apps.err.getvalue()
    assert "your answer" not in apps.err.getvalue()


def test_a_denied_app_has_no_marks_in_events_that_it_no_longer_has(apps: Typed) -> None:
    apps.door.send("signup", app_id="acme-notes", payload={"email": "a@b.example"})
    apps("list")
    assert "1 mark in its events" in apps.said
    apps("deny acme-notes --yes")
    apps("list")
    assert "acme-notes: denied by you" in apps.said
    assert " in its events" not in apps.said


def test_forgetting_gives_the_settings_file_its_say_again(apps: Typed) -> None:
    apps("deny acme-ci --yes")
    assert apps("forget acme-ci") == 0
    assert "acme-ci (Acme CI): allowed by settings file" in apps.said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("allow acme-note", "Did you mean acme-notes?"),
        ("alow acme-notes", "did you mean allow?"),
        ("allow", "takes an ID"),
        ("pause", "takes an ID or --all"),
        ("list acme-notes", "homing apps show acme-notes"),
        ("allow acme-notes --for 2h", "--for and --until is for `homing apps deny` and `pause`"),
        ("deny acme-notes --all", "--all is for"),
        ("pause acme-notes --for soon", "'soon' is not a time"),
        ("pause acme-notes --until 25:99", "no moment"),
        ("pause acme-notes --until 2020-01-01", "within the next 366 days"),
        ("pause acme-notes --for 1h --until 18:00", "not allowed with"),
        ("allow acme-notes dat1_", "a second word is for `homing apps revoke`"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_meant(apps: Typed, line: str, said: str) -> None:
    assert apps(line) == 64
    assert said in apps.said


def test_an_id_that_would_steer_a_terminal_is_shown_as_what_it_is(apps: Typed) -> None:
    assert apps("allow \x1b[31mred") == 64
    assert "\x1b" not in apps.said
