"""`homing upstreams`: what each has, the dual run, a switch, and what an old one left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.machine.places import Places
from agent.door import AppStatus, LinkStatus, UpstreamStatus
from agent.door.upstreams import (
    CompareUpstreams,
    Comparison,
    DropUpstream,
    Emptied,
    MoveUpstream,
    UpstreamDay,
    UpstreamSum,
)
from tests.agent.cli.conftest import NOW_MS, Terminal, make_status

SAFE = "It is safe to switch to mine: of 1,204 events it was given, as many as vendor, none was"


def link(upstream: str, state: str, **more: Any) -> LinkStatus:
    known: dict[str, Any] = {
        "app_id": "acme",
        "kind": "nucleus",
        "endpoint": f"wss://{upstream}.example",
        "state": state,
        "since_ms": NOW_MS - 5000,
        "upstream": upstream,
    }
    return LinkStatus(**(known | more))


def upstream(name: str, **more: Any) -> UpstreamStatus:
    known: dict[str, Any] = {"name": name, "kind": "nucleus", "accepted": 1204, "delivered": 1204}
    return UpstreamStatus(**(known | more))


def two(**more: Any) -> Any:
    app = AppStatus(
        app_id="acme",
        name="Acme",
        consent="allowed",
        consent_from="settings file",
        upstreams=(
            upstream("vendor"),
            upstream("mine", delivered=1000, pending=204, oldest_pending_ms=NOW_MS - 90_000),
            *more.pop("also", ()),
        ),
    )
    links = (
        link("vendor", "live"),
        link("mine", "waiting", reason="connection refused", code="link.unreachable"),
    )
    return make_status(apps=(app,), links=more.get("links", links))


def comparison(safe: bool = True) -> Comparison:
    sums = tuple(
        UpstreamSum(
            upstream=name,
            accepted=1204,
            confirmed=1204,
            dead=0,
            lost=0,
            waiting=0,
            safe=safe,
            why=SAFE if safe else "Not yet: it refused 3 events for good.",
        )
        for name in ("vendor", "mine")
    )
    day = UpstreamDay(
        day="2026-11-20", upstream="mine", accepted=1204, confirmed=1203, dead=0, lost=0, waiting=1
    )
    return Comparison(app_id="acme", since="2026-11-20", days=(day,), sums=sums)


def test_every_upstream_is_listed_and_one_that_is_down_is_degraded(desk: Any) -> None:
    desk.door.now = two()
    assert desk.run("upstreams") == 1
    vendor, mine, why = desk.said.splitlines()[1:4]
    assert vendor.split()[:4] == ["acme", "vendor", "nucleus", "live"]
    assert mine.split()[:6] == ["acme", "mine", "nucleus", "waiting", "1,000", "204"]
    assert "1 min" in mine
    assert why == "acme mine: connection refused"


def test_all_is_well_where_all_are_connected(desk: Any) -> None:
    desk.door.now = two(links=(link("vendor", "live"), link("mine", "live")))
    assert desk.run("upstreams", "list") == 0


def test_what_was_left_behind_is_said_with_the_commands_that_help(desk: Any) -> None:
    live = (link("vendor", "live"), link("mine", "live"))
    old = upstream("old", accepted=9, delivered=0, pending=9, declared=False)
    desk.door.now = two(links=live, also=(old,))
    assert desk.run("upstreams") == 1
    assert "forgotten" in desk.said
    assert "`homing upstreams move acme old --to OTHER`" in desk.said


def test_the_list_as_json_has_each_upstream_with_its_links(desk: Any) -> None:
    desk.door.now = two()
    assert desk.run("upstreams", "--json") == 1
    ((app),) = json.loads(desk.said)
    assert [one["upstream"]["name"] for one in app["upstreams"]] == ["vendor", "mine"]
    assert [one["state"] for one in app["upstreams"]] == ["live", "waiting"]
    assert app["upstreams"][1]["links"][0]["code"] == "link.unreachable"


def test_the_dual_run_is_a_table_and_a_sentence_for_each(desk: Any) -> None:
    desk.door.answers[CompareUpstreams] = comparison()
    assert desk.run("upstreams", "compare", "acme", "--days", "3") == 0
    assert desk.door.asked == [("CompareUpstreams", (CompareUpstreams(app_id="acme", days=3),))]
    lines = desk.said.splitlines()
    assert lines[1].split() == ["2026-11-20", "mine", "1,204", "1,203", "0", "0", "1"]
    assert lines[2].split() == ["all", "vendor", "1,204", "1,204", "0", "0", "0"]
    assert lines[-1] == f"mine: {SAFE}"


def test_a_dual_run_that_shows_differences_is_degraded(desk: Any) -> None:
    desk.door.answers[CompareUpstreams] = comparison(safe=False)
    assert desk.run("upstreams", "compare", "acme") == 1
    assert desk.run("upstreams", "compare", "acme", "--json") == 1


def test_nothing_to_compare_is_said(desk: Any) -> None:
    desk.door.answers[CompareUpstreams] = Comparison(app_id="acme", since="")
    assert desk.run("upstreams", "compare", "acme") == 1
    assert "acme has not had two upstreams yet" in desk.said


@pytest.fixture
def settings(desk: Any) -> Path:
    file: Path = Places.find(desk.env | {"HOMING_HOME": str(desk.home)}).settings_file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        '[[apps]]\nid = "acme"\nspeaks = ["nucleus"]\n'
        '[[apps.upstreams]]\nkind = "nucleus"\nname = "vendor"\n'
        '[[apps.upstreams]]\nkind = "homing"\nname = "mine"\nendpoint = "wss://h.example"\n'
    )
    return file


def test_a_switch_says_what_the_dual_run_showed_and_asks(desk: Any, settings: Path) -> None:
    before = settings.read_text()
    desk.door.answers[CompareUpstreams] = comparison(safe=False)
    desk.inward = Terminal("n\n")
    assert desk.run("upstreams", "switch", "acme", "--to", "mine") == 1
    assert "it refused 3 events for good" in desk.complained
    assert settings.read_text() == before
    desk.inward = Terminal("y\n")
    assert desk.run("upstreams", "switch", "acme", "--to", "mine") == 0
    assert "vendor" not in settings.read_text()
    assert 'name = "mine"' in settings.read_text()
    assert "Start the agent again; what still waits for vendor is kept." in desk.said


def test_a_switch_without_an_agent_says_that_nothing_is_known(desk: Any, settings: Path) -> None:
    desk.door = None
    desk.inward = Terminal("y\n")
    assert desk.run("upstreams", "switch", "acme", "--to", "vendor") == 0
    assert "nothing is known of a dual run" in desk.complained
    assert "mine" not in settings.read_text()


def test_a_switch_to_a_name_that_is_none_is_a_mistake_of_the_settings(
    desk: Any, settings: Path
) -> None:
    before = settings.read_text()
    assert desk.run("upstreams", "switch", "acme", "--to", "mien", "--yes") == 78
    assert "did you mean mine?" in desk.complained
    assert settings.read_text() == before


def test_a_drop_asks_with_the_number(desk: Any) -> None:
    old = upstream("old", pending=9, dead=2, declared=False)
    desk.door.now = two(also=(old,))
    desk.door.answers[DropUpstream] = Emptied(events=11, left=0)
    desk.inward = Terminal("n\n")
    assert desk.run("upstreams", "drop", "acme", "old") == 1
    assert "Delete 11 events for good?" in desk.complained
    assert desk.door.asked == []
    assert desk.run("upstreams", "drop", "acme", "old", "--yes") == 0
    assert desk.door.asked == [("DropUpstream", (DropUpstream(app_id="acme", name="old"),))]
    assert "11 events dropped." in desk.said


def test_a_move_tells_what_stays(desk: Any) -> None:
    desk.door.answers[MoveUpstream] = Emptied(events=9, left=2)
    assert desk.run("upstreams", "move", "acme", "old", "--to", "mine") == 0
    asked = MoveUpstream(app_id="acme", name="old", to="mine")
    assert desk.door.asked == [("MoveUpstream", (asked,))]
    assert "9 events moved to mine. 2 events refused for good stay" in desk.said


@pytest.mark.parametrize(
    "words",
    [
        ["compare"],
        ["compare", "a", "b"],
        ["switch", "a"],
        ["drop", "a"],
        ["drop", "a", "b", "--to", "c"],
        ["move", "a", "b"],
        ["list", "a"],
        ["lst"],
    ],
)
def test_words_that_do_not_fit_are_refused(desk: Any, words: list[str]) -> None:
    assert desk.run("upstreams", *words) == 64


def test_a_hostile_name_stays_inside_its_line(desk: Any) -> None:
    old = upstream("a\x1b[2Jb\nc", pending=9, declared=False)
    desk.door.now = two(also=(old,))
    desk.run("upstreams")
    assert "\x1b" not in desk.said
