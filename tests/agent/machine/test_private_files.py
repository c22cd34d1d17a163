"""Files that only we may read: threat rows 3, 30 and 31."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.machine.private_files import make_folder, read_private, write_private
from tracking.errors import SettingsFault, StorageFault


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=lambda mask: f"umask-{mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_folders_are_made_ours_alone_with_all_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert [mode(p) for p in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c")] == [0o700] * 3


@pytest.mark.usefixtures("umask")
def test_a_file_is_written_ours_alone_and_read_back(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"secret")
    assert mode(tmp_path / "key") == 0o600
    assert read_private(tmp_path / "key") == b"secret"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["key"]


def test_a_folder_of_ours_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    make_folder(tmp_path / "open")
    assert mode(tmp_path / "open") == 0o700


def test_a_link_where_a_folder_belongs_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    (tmp_path / "state").symlink_to(victim)
    with pytest.raises(SettingsFault, match="is a link"):
        make_folder(tmp_path / "state")
    assert mode(victim) == 0o755
    assert not list(victim.iterdir())


def test_a_link_into_nowhere_is_refused_and_nothing_is_made_there(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsFault, match="is a link"):
        make_folder(tmp_path / "state")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_where_a_folder_belongs_is_refused_and_survives(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("mine")
    with pytest.raises(SettingsFault, match="is not a folder"):
        make_folder(tmp_path / "state")
    assert (tmp_path / "state").read_text() == "mine"


def test_somebody_elses_folder_is_refused_and_stays_as_it_was(
    tmp_path: Path, give_away: Callable[[Path], int]
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o777)
    uid = give_away(folder)
    with pytest.raises(SettingsFault, match=f"belongs to user .* we are user {uid}"):
        make_folder(folder, uid=uid)
    assert mode(folder) == 0o777
    assert not list(folder.iterdir())


def test_another_user_cannot_use_our_folder_however_open_it_is(
    shared: Path, as_stranger: Callable[[str, str, Path], str]
) -> None:
    folder = shared / "state"
    folder.mkdir()
    folder.chmod(0o777)
    imports = "from agent.adapters.machine.private_files import make_folder"
    said = as_stranger(imports, "make_folder(path, uid=uid)", folder)
    assert f"SettingsFault: {folder} belongs to user {os.getuid()}" in said
    assert mode(folder) == 0o777


def test_another_user_cannot_read_what_we_wrote(
    shared: Path, as_stranger: Callable[[str, str, Path], str]
) -> None:
    write_private(shared / "key", b"secret")
    imports = "from agent.adapters.machine.private_files import read_private"
    said = as_stranger(imports, "print(read_private(path, uid=uid))", shared / "key")
    assert f"belongs to user {os.getuid()}" in said
    assert "secret" not in said


def test_a_link_where_a_file_belongs_is_refused_for_reading(tmp_path: Path) -> None:
    write_private(tmp_path / "victim", b"theirs")
    (tmp_path / "key").symlink_to(tmp_path / "victim")
    with pytest.raises(SettingsFault, match="is a link"):
        read_private(tmp_path / "key")


def test_a_link_where_a_file_belongs_is_replaced_when_writing_and_its_target_untouched(
    tmp_path: Path,
) -> None:
    (tmp_path / "victim").write_text("theirs")
    (tmp_path / "key").symlink_to(tmp_path / "victim")
    write_private(tmp_path / "key", b"ours")
    assert (tmp_path / "victim").read_text() == "theirs"
    assert read_private(tmp_path / "key") == b"ours"


def test_somebody_elses_file_is_refused(tmp_path: Path, give_away: Callable[[Path], int]) -> None:
    write_private(tmp_path / "key", b"theirs")
    uid = give_away(tmp_path / "key")
    with pytest.raises(SettingsFault, match="belongs to user"):
        read_private(tmp_path / "key", uid=uid)


def test_a_file_of_ours_that_others_could_read_is_closed_and_said(
    tmp_path: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.private_files")
    (tmp_path / "key").write_bytes(b"ours")
    (tmp_path / "key").chmod(0o644)
    assert read_private(tmp_path / "key") == b"ours"
    assert mode(tmp_path / "key") == 0o600


def test_a_file_with_a_second_name_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"ours")
    os.link(tmp_path / "key", tmp_path / "other")
    with pytest.raises(SettingsFault, match="has 2 names"):
        read_private(tmp_path / "key")


def test_a_pipe_cannot_hold_us_and_a_huge_file_cannot_fill_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SettingsFault, match="not a regular file"):
        read_private(tmp_path / "pipe")
    write_private(tmp_path / "huge", bytes(2**20))
    with pytest.raises(SettingsFault, match="1048576 bytes"):
        read_private(tmp_path / "huge")


def test_a_file_put_there_for_us_may_be_readable_but_not_writable_by_others(
    tmp_path: Path,
) -> None:
    (tmp_path / "token").write_bytes(b"t")
    (tmp_path / "token").chmod(0o644)
    assert read_private(tmp_path / "token", shared=True) == b"t"
    assert mode(tmp_path / "token") == 0o644
    (tmp_path / "token").chmod(0o664)
    with pytest.raises(SettingsFault, match="can be changed by others"):
        read_private(tmp_path / "token", shared=True)


def test_no_file_is_none_and_no_folder_to_write_to_is_a_storage_fault(tmp_path: Path) -> None:
    assert read_private(tmp_path / "key") is None
    with pytest.raises(StorageFault, match="no such file"):
        write_private(tmp_path / "nowhere" / "key", b"ours")


def test_a_full_disk_leaves_the_old_file_whole() -> None:
    # /dev/full says ENOSPC to every write; a small tmpfs would need root
    with pytest.raises(StorageFault):
        write_private(Path("/dev/full/key"), b"ours")
