"""The real thing on a real display: agent, tray, window, and an event that curl sends.

Once with the agent in the tray's own process, once with a headless one that the tray attaches to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from desktop import Desktop, Program, desktop, eventually

pytestmark = [pytest.mark.display, pytest.mark.system]

TRAY = [sys.executable, str(Path(__file__).with_name("spied_tray.py"))]
HOMING = [sys.executable, "-m", "homing"]
SETTINGS = """
[[apps]]
id = "acme-notes"
name = "Acme Notes"
"""


@pytest.fixture
def place(tmp_path: Path, home: Path) -> Iterator[Desktop]:
    (home / "config").mkdir(parents=True, mode=0o700)
    (home / "config" / "homing.toml").write_text(SETTINGS, "utf-8")
    with desktop(tmp_path / "desktop") as here:
        here.env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
        here.start_window_manager()
        here.start_trayer()
        yield here


@pytest.fixture(params=["in the tray's process", "in its own process"])
def tray(request: pytest.FixtureRequest, place: Desktop) -> Program:
    if request.param == "in its own process":
        place.spawn([*HOMING, "agent"])
        eventually("the agent", lambda: place.ask([*HOMING, "status", "--json"]))
    return Program(place, TRAY)


def seen(tray: Program) -> tuple[str, list[str], list[str]]:
    """Return the window's state, the events in it, and the menu that is open."""
    tray.told.clear()
    tray.say("look")
    _word, state, names, menu = tray.hear("seen")
    return state, names, menu


def icon_in_the_tray(place: Desktop) -> str:
    """Return the id of the window that is not the window; empty while there is none."""
    ours = set(place.ask(["xdotool", "search", "--onlyvisible", "--class", "homing"]).split())
    return "".join(list(ours - set(place.windows("Homing")))[:1])


def click(place: Desktop, icon: str, button: str) -> None:
    where = ["mousemove", "--window", icon, "12", "12"]
    place.ask(["xdotool", *where, "click", button])


def until(tray: Program, what: str, holds: Callable[[str, list[str], list[str]], Any]) -> Any:
    return eventually(what, lambda: holds(*seen(tray)))


def test_an_event_that_curl_sends_shows_in_the_window(place: Desktop, tray: Program) -> None:
    icon = eventually("the icon", lambda: icon_in_the_tray(place))
    eventually("the agent's status", lambda: place.ask([*HOMING, "status", "--json"]))
    facts = json.loads(place.ask([*HOMING, "status", "--json"]))
    if not place.windows("Homing"):
        click(place, icon, "1")
    until(tray, "the window", lambda state, _names, _menu: state == "Needs attention")

    body = json.dumps({"data": [{"name": "sent.by.curl", "payload": {"n": 1}}]})
    url = "http://localhost/app/acme-notes/track"
    answer = place.ask(["curl", "-sS", "--unix-socket", facts["address"], url, "-d", body])
    assert "reportedIds" in answer
    until(tray, "the event", lambda _state, names, _menu: "sent.by.curl" in names)

    click(place, icon, "3")
    menu = until(tray, "the menu", lambda _state, _names, menu: menu)
    assert "Open" in menu
    assert "Send a test event" in menu
    assert menu[-1] in {"Quit", "Close window"}
    place.ask(["xdotool", "key", "Up", "Return"])
    assert tray.hear("exit") == ["exit", 0]
