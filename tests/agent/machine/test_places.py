"""Where things are kept: one folder by HOMING_HOME, the system's habits (threat row 4)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters.machine.places import SOCKET_PATH_BYTES, Places
from tracking.errors import SettingsFault


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home without HOMING_HOME."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("HOMING_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    folder = tmp_path / "run-user"
    folder.mkdir(mode=0o700)
    return folder


def test_homing_home_puts_everything_below_one_folder(tmp_path: Path) -> None:
    home = tmp_path / "one"
    places = Places.find({"HOMING_HOME": str(home)})
    assert not home.exists(), "finding touches nothing"
    places.prepare()
    for path in (places.settings_file, places.outbox, places.lock, places.socket, places.logs):
        assert home in path.parents
    assert {stat.S_IMODE(p.stat().st_mode) for p in [home, *home.iterdir()]} == {0o700}


def test_two_homes_share_nothing(tmp_path: Path) -> None:
    one = Places.find({"HOMING_HOME": str(tmp_path / "one")})
    two = Places.find({"HOMING_HOME": str(tmp_path / "two")})
    assert one.socket != two.socket
    assert one.keyring_service != two.keyring_service
    assert one.keyring_service == Places.find({"HOMING_HOME": f"{tmp_path}/one"}).keyring_service


def test_a_relative_home_is_the_same_folder_for_whoever_names_it_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Places.find({"HOMING_HOME": "demo"}).home == tmp_path / "demo"


@pytest.mark.usefixtures("system")
def test_without_homing_home_the_systems_habits_apply(system: Path, runtime: Path) -> None:
    places = Places.find({"HOMING_HOME": "", "XDG_RUNTIME_DIR": str(runtime)})
    assert places.settings_file == system / ".config/homing/homing.toml"
    assert places.outbox == system / ".local/share/homing/outbox.db"
    assert places.lock == system / ".local/state/homing/agent.lock"
    assert places.socket == runtime / "homing/agent.sock"
    assert (places.note, places.keyring_service) == ("", "homing")
    places.prepare()
    assert stat.S_IMODE((runtime / "homing").stat().st_mode) == 0o700


def open_to_all(folder: Path) -> str:
    folder.chmod(0o777)
    return str(folder)


def readable(folder: Path) -> str:
    folder.chmod(0o750)
    return str(folder)


def link(folder: Path) -> str:
    other = folder.with_name("link")
    other.symlink_to(folder)
    return str(other)


def plain_file(folder: Path) -> str:
    other = folder.with_name("file")
    other.write_text("")
    return str(other)


def relative(folder: Path) -> str:
    return os.path.relpath(folder)


def missing(folder: Path) -> str:
    return str(folder / "missing")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (open_to_all, "its mode is 0777, others can enter"),
        (readable, "its mode is 0750, others can enter"),
        (link, "it is not a folder"),
        (plain_file, "it is not a folder"),
        (relative, "it is not absolute"),
        (missing, "no such file or directory"),
    ],
)
def test_a_runtime_folder_that_cannot_be_believed_is_not_used(
    system: Path, runtime: Path, spoil: Callable[[Path], str], why: str
) -> None:
    places = Places.find({"XDG_RUNTIME_DIR": spoil(runtime)})
    assert places.socket == system / ".local/state/homing/agent.sock"
    assert places.note == f"XDG_RUNTIME_DIR is not used: {why}"


def test_somebody_elses_runtime_folder_is_not_used(
    system: Path, runtime: Path, give_away: Callable[[Path], int]
) -> None:
    uid = give_away(runtime)
    places = Places.find({"XDG_RUNTIME_DIR": str(runtime)}, uid=uid)
    assert places.socket == system / ".local/state/homing/agent.sock"
    assert "it belongs to user" in places.note


@pytest.mark.usefixtures("system")
def test_no_runtime_folder_is_nothing_to_remark_on() -> None:
    assert Places.find({}).note == ""


def test_a_planted_link_or_a_foreign_folder_below_home_stops_the_start(
    tmp_path: Path, give_away: Callable[[Path], int]
) -> None:
    home, victim = tmp_path / "one", tmp_path / "victim"
    home.mkdir()
    victim.mkdir()
    (home / "run").symlink_to(victim)
    places = Places.find({"HOMING_HOME": str(home)})
    with pytest.raises(SettingsFault, match="run is a link"):
        places.prepare()
    assert not list(victim.iterdir())
    (home / "run").unlink()
    (home / "data").rmdir()
    (home / "data").mkdir(mode=0o755)
    uid = give_away(home / "data")
    if uid:  # others cannot give away, so all of it is foreign: the home itself is refused first
        with pytest.raises(SettingsFault, match="belongs to user"):
            places.prepare(uid=uid)
    else:
        with pytest.raises(SettingsFault, match="data belongs to user"):
            places.prepare()


def test_a_home_that_everybody_can_change_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "one"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(SettingsFault, match="can be changed by everybody"):
        Places.find({"HOMING_HOME": str(home)}).prepare()
    home.chmod(0o1777)  # as /tmp: others cannot rename what is ours
    Places.find({"HOMING_HOME": str(home)}).prepare()


def test_somebody_elses_link_as_home_is_refused_and_ones_own_is_followed(
    tmp_path: Path, give_away: Callable[[Path], int]
) -> None:
    real, own = tmp_path / "real", tmp_path / "own"
    real.mkdir()
    own.symlink_to(real)
    Places.find({"HOMING_HOME": str(own)}).prepare()
    assert (real / "data").is_dir()
    uid = give_away(own)
    with pytest.raises(SettingsFault, match="is a link of user"):
        Places.find({"HOMING_HOME": str(own)}, uid=uid).prepare(uid=uid)


def test_a_socket_path_that_is_too_long_becomes_a_short_one_that_everybody_finds(
    tmp_path: Path, shared: Path
) -> None:
    home = tmp_path / ("long" * 30)
    runtime = shared / "user"  # short, as /run/user/1000 is
    runtime.mkdir(mode=0o700)
    env = {"HOMING_HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
    places = Places.find(env)
    assert places.check_socket().parent == runtime / "homing"
    assert len(os.fsencode(places.socket)) <= SOCKET_PATH_BYTES
    assert Places.find(env).socket == places.socket
    assert Places.find({**env, "HOMING_HOME": f"{home}2"}).socket != places.socket
    places.prepare()
    assert places.socket.parent.is_dir()


def test_a_socket_path_that_cannot_be_made_short_is_refused_with_both_numbers(
    tmp_path: Path,
) -> None:
    places = Places.find({"HOMING_HOME": str(tmp_path / ("long" * 30))})
    length = len(os.fsencode(places.socket))
    with pytest.raises(SettingsFault, match=f"has {length} bytes, this system allows 107") as said:
        places.check_socket()
    assert "HOMING_HOME" in said.value.advice


def test_the_longest_allowed_path_really_binds_and_one_byte_more_does_not(tmp_path: Path) -> None:
    import socket

    room = SOCKET_PATH_BYTES - len(os.fsencode(tmp_path)) - 1
    with socket.socket(socket.AF_UNIX) as fits, socket.socket(socket.AF_UNIX) as too_long:
        fits.bind(str(tmp_path / ("s" * room)))
        with pytest.raises(OSError, match="too long"):
            too_long.bind(str(tmp_path / ("s" * (room + 1))))


@pytest.mark.usefixtures("system")
def test_finding_places_loads_nothing_heavy() -> None:
    probe = "import sys, agent.adapters.machine.places; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", probe], text=True).split()
    assert not {"psutil", "keyring", "asyncio", "PySide6", "tomlkit"} & set(loaded)
