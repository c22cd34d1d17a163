"""The device key without a keyring, with one, and where somebody meddled (threat rows 34, 35)."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rings import HOST, Ring, absent

from agent.adapters.machine.secrets import Secrets
from agent.adapters.machine.system_keyring import Keyring
from tracking.errors import SecretFault


def test_the_key_is_made_once_and_kept_in_the_keyring(with_ring: Secrets, ring: Ring) -> None:
    first, again = with_ring.device_key(), with_ring.device_key()
    assert first == again
    assert len(first.key) == 32
    assert first.kept == ("keyring", "")
    assert ring.entries == {("homing", "device-key"): first.key.hex()}
    assert not with_ring.key_file.exists()


def test_without_a_keyring_the_key_is_in_a_file_of_ours_alone_and_that_is_said(
    without: Callable[[], Secrets], state: Path
) -> None:
    first, again = without().device_key(), without().device_key()
    assert first.key == again.key
    assert first.kept.where == "file (unencrypted)"
    assert "kept unencrypted in" in first.kept.notice
    assert "no keyring" in first.kept.notice
    assert stat.S_IMODE((state / "device.key").stat().st_mode) == 0o600


def test_a_key_that_was_made_without_a_keyring_stays_when_one_appears(
    without: Callable[[], Secrets], with_ring: Secrets, ring: Ring
) -> None:
    headless = without().device_key()
    assert with_ring.device_key().key == headless.key
    assert not ring.entries


def test_where_nothing_can_be_written_the_key_lives_in_memory_and_that_is_said(
    state: Path,
) -> None:
    secrets = Secrets(
        key_file=state / "missing" / "device.key", env={}, keyring=Keyring(find=absent)
    )
    first, again = secrets.device_key(), secrets.device_key()
    assert first.key == again.key
    assert first.kept.where == "memory (until it stops)"
    assert "forgotten when the agent stops" in first.kept.notice


def test_two_apps_at_once_do_not_make_two_keys(with_ring: Secrets, ring: Ring) -> None:
    ring.opened.clear()
    keys: list[bytes] = []
    apps = [
        threading.Thread(target=lambda: keys.append(with_ring.device_key().key)) for _ in range(4)
    ]
    for app in apps:
        app.start()
    ring.opened.set()
    for app in apps:
        app.join()
    assert len(keys) == 4
    assert len(set(keys)) == 1


def test_a_link_planted_for_the_key_is_refused_and_its_target_untouched(
    without: Callable[[], Secrets], state: Path
) -> None:
    victim = state / "victim"
    victim.write_text("theirs")
    (state / "device.key").symlink_to(victim)
    with pytest.raises(SecretFault, match="is a link"):
        without().device_key()
    assert victim.read_text() == "theirs"


def test_a_damaged_key_is_named_and_never_replaced_in_silence(
    without: Callable[[], Secrets], state: Path
) -> None:
    (state / "device.key").write_bytes(b"\0" * 40)
    (state / "device.key").chmod(0o600)
    with pytest.raises(SecretFault, match="64 hexadecimal digits were expected, 40 bytes found"):
        without().device_key()
    assert (state / "device.key").read_bytes() == b"\0" * 40


def test_an_organisations_key_is_the_same_on_every_computer(state: Path, ring: Ring) -> None:
    file = state / "fleet.key"
    file.write_text("AB" * 32 + "\n")
    file.chmod(0o644)
    secrets = Secrets(
        key_file=state / "device.key",
        organisation_key=file,
        env={},
        keyring=Keyring(find=lambda: ring),
    )
    assert secrets.device_key().key == bytes.fromhex("ab" * 32)
    assert secrets.device_key().kept == ("organisation's file", "")
    assert not ring.entries
    file.chmod(0o666)
    with pytest.raises(SecretFault, match="can be changed by others"):
        secrets.device_key()
    file.unlink()
    with pytest.raises(SecretFault, match="does not exist"):
        secrets.device_key()


def test_forgetting_the_key_forgets_it_everywhere(
    without: Callable[[], Secrets], with_ring: Secrets, ring: Ring
) -> None:
    key_file = without().key_file
    without().device_key()
    ring.entries["homing", "device-key"] = "ab" * 32
    assert with_ring.forget_device_key() == [str(key_file), "keyring"]
    assert with_ring.forget_device_key() == []
    assert not ring.entries
    assert not key_file.exists()


def test_neither_key_nor_token_shows_when_it_is_printed(with_ring: Secrets) -> None:
    key = with_ring.device_key()
    with_ring.keep_token(HOST, "notes", "dat1_canary")
    shown = f"{key} {key!r} {with_ring.token(HOST, 'notes')!r}"
    assert "canary" not in shown
    assert key.key.hex() not in shown
    assert repr(key.key)[2:12] not in shown


def test_a_name_that_no_file_can_have_is_no_mistake_of_ours(tmp_path: Path) -> None:
    ring = Ring()
    long = tmp_path / ("k" * 300)
    secrets = Secrets(key_file=long, env={}, keyring=Keyring(find=lambda: ring))
    assert len(secrets.device_key().key) == 32
    with pytest.raises(SecretFault):
        Secrets(key_file=long, env={}, keyring=Keyring(find=absent)).device_key()
