"""The face on real desktops: an X server, a session bus, trays that come late, die and return."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from desktop import Desktop, Program, TrayHost, desktop, eventually

pytestmark = pytest.mark.display

FACE = [sys.executable, str(Path(__file__).with_name("scripted_door.py"))]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Desktop]:
    with desktop(tmp_path / "desktop") as here:
        yield here


@pytest.fixture
def host(place: Desktop) -> TrayHost:
    return place.tray()


def start(place: Desktop, *flags: str) -> Program:
    program = Program(place, [*FACE, str(place.folder), *flags])
    program.hear("ready")
    return program


def test_the_tray_shows_the_state_and_its_menu_does_what_it_says(
    place: Desktop, host: TrayHost
) -> None:
    face = start(place)
    item = place.item(host)
    eventually("the status", lambda: "Everything is delivered." in item.entries())
    assert (item.facts()["Id"], item.facts()["Status"]) == ("homing", "Active")
    assert item.facts()["ToolTip"][2] == "Homing: Everything is delivered."
    sizes = {pixmap[0] for pixmap in item.facts()["IconPixmap"]}
    assert {16, 22, 32, 64} <= sizes
    assert list(item.entries()) == [
        "Everything is delivered.", "", "Open", "Pause sending", "For 1 hour", "Until tomorrow",
        "Until I resume", "Send a test event", "Settings file", "Quit",
    ]  # fmt: skip
    assert item.entries()["Everything is delivered."][1]["enabled"] is False

    item.choose("For 1 hour")
    assert face.hear("asked", "pause") == ["asked", "pause", 3600.0]
    eventually("the pause to show", lambda: "Resume sending" in item.entries())
    item.choose("Resume sending")
    face.hear("asked", "resume")
    item.choose("Send a test event")
    assert face.hear("asked", "send")[2] == "homing.test"
    assert not place.windows("Homing")
    item.activate()
    eventually("the window", lambda: place.windows("Homing"))
    item.choose("Quit")
    assert face.hear("exit") == ["exit", 0]
    assert face.process.wait(5) == 0


def test_an_icon_appears_when_the_tray_comes_after_us(place: Desktop) -> None:
    face = start(place)
    eventually("the window that stands in for the tray", lambda: place.windows("Homing"))
    tray = place.tray()
    item = place.item(tray)
    assert item.facts()["Id"] == "homing"
    assert "Open" in item.entries()
    item.choose("Quit")
    face.hear("exit", 0)


def test_an_icon_comes_back_after_the_tray_died(place: Desktop) -> None:
    first = place.tray()
    face = start(place)
    place.item(first)
    first.go()
    for _ in range(2):
        tray = place.tray()
        item = place.item(tray)
        assert "Open" in item.entries()
        tray.go()
    face.say("raise")
    eventually("the window, without any tray", lambda: place.windows("Homing"))


def test_a_notification_is_told_as_text_not_as_markup(place: Desktop, host: TrayHost) -> None:
    face = start(place)
    place.item(host)
    face.say("state", "attention", "<b>Refused</b> & kept")
    note = eventually("the notification", lambda: host.notes, 20)[0]
    assert note[4] == "&lt;b&gt;Refused&lt;/b&gt; &amp; kept"


def test_without_a_tray_the_window_is_the_program(place: Desktop) -> None:
    place.start_window_manager()
    face = start(place)
    (window,) = eventually("the window", lambda: place.windows("Homing"))
    place.ask(["xdotool", "windowactivate", "--sync", window, "key", "ctrl+w"])
    assert face.hear("exit") == ["exit", 0]


def test_a_second_start_raises_the_window(place: Desktop, host: TrayHost) -> None:
    face = start(place)
    place.item(host)
    face.say("raise")
    eventually("the window", lambda: place.windows("Homing"))
    assert len(place.windows("Homing")) == 1


def test_a_face_that_only_attached_says_close_window(place: Desktop, host: TrayHost) -> None:
    face = start(place, "attached")
    item = place.item(host)
    assert "Quit" not in item.entries()
    item.choose("Close window")
    face.hear("exit", 0)
    assert ["asked", "stop", None] not in face.told


def test_sigterm_ends_an_idle_face_at_once(place: Desktop, host: TrayHost) -> None:
    face = start(place)
    place.item(host)
    face.process.send_signal(signal.SIGTERM)
    assert face.hear("exit") == ["exit", 0]
    assert face.process.wait(3) == 0


def test_a_face_waits_for_an_agent_that_comes_later(place: Desktop, host: TrayHost) -> None:
    face = start(place, "late")
    item = place.item(host)
    assert "Waiting for the agent" in item.entries()
    eventually("the agent", lambda: "Everything is delivered." in item.entries())
    face.say("vanish")
    eventually("the loss to show", lambda: "Waiting for the agent" in item.entries())
    assert face.process.poll() is None


def test_an_old_tray_shows_the_icon_and_a_click_opens_the_window(place: Desktop) -> None:
    place.start_window_manager()
    place.start_trayer()
    face = start(place)
    (icon,) = eventually(
        "the icon in trayer",
        lambda: place.ask(["xdotool", "search", "--onlyvisible", "--class", "homing"]).split(),
    )
    assert not place.windows("Homing")
    place.ask(["xdotool", "mousemove", "--window", icon, "10", "10", "click", "1"])
    eventually("the window", lambda: place.windows("Homing"))
    face.process.send_signal(signal.SIGINT)
    assert face.hear("exit") == ["exit", 0]


@pytest.mark.parametrize("flags", [(), ("attached",)], ids=["hosted", "attached"])
def test_an_app_that_knocks_is_told_once_and_answered_in_the_window(
    place: Desktop, host: TrayHost, flags: tuple[str, ...]
) -> None:
    place.start_window_manager()
    face = start(place, *flags)
    item = place.item(host)
    face.say("knock", "<b>acme</b>")
    (note,) = eventually("the notification", lambda: host.notes, 20)
    assert note[4].startswith("&lt;b&gt;acme&lt;/b&gt; (/opt/acme/recorder) wants to report usage")
    assert not place.windows("Homing")  # it never steals the focus, nor opens a window
    eventually("the entry", lambda: "Answer: <b>acme</b>…" in item.entries())
    face.say("knock")
    face.say("knock", "<b>acme</b>")
    item.choose("Answer: <b>acme</b>…")
    (window,) = eventually("the window", lambda: place.windows("Homing"))
    place.ask(["xdotool", "windowactivate", "--sync", window, "key", "alt+n"])
    assert face.hear("asked", "NotNow")[2] == {"app_id": "<b>acme</b>"}
    assert len(host.notes) == 1  # never twice for the same app
