"""Keyrings that wait, refuse, fail, or that we do not trust (threat rows 34, 35)."""

from __future__ import annotations

from pathlib import Path

import keyring.backend
import keyring.errors
import pytest
from rings import HOST, Ring

from agent.adapters.machine.secrets import Secrets
from agent.adapters.machine.system_keyring import Keyring, NoKeyring, system_keyring
from tracking.errors import SecretFault


def test_a_keyring_that_waits_for_a_person_is_given_up_and_answers_the_next_time(
    state: Path, ring: Ring
) -> None:
    secrets = Secrets(
        key_file=state / "device.key",
        env={},
        keyring=Keyring(patience_s=0.2, find=lambda: ring),
    )
    ring.opened.clear()
    with pytest.raises(SecretFault, match=r"did not answer within 0\.2 s") as said:
        secrets.device_key()
    assert said.value.advice == "Unlock your keyring."
    with pytest.raises(SecretFault, match="did not answer"):  # no second window meanwhile
        secrets.token(HOST, "notes")
    assert not secrets.key_file.exists(), "a locked keyring is no reason to write a file"
    ring.opened.set()
    secrets.keyring.patience_s = 10
    assert secrets.device_key().kept.where == "keyring"


@pytest.mark.parametrize(
    "wrong",
    [
        keyring.errors.KeyringLocked("no"),
        keyring.errors.InitError("Prompt dismissed"),
        keyring.errors.PasswordSetError("no"),
        ConnectionResetError("the bus went away"),
    ],
    ids=lambda wrong: type(wrong).__name__,
)
def test_a_keyring_that_refuses_is_a_fault_and_nothing_is_made(
    with_ring: Secrets, ring: Ring, wrong: Exception
) -> None:
    ring.wrong = wrong
    with pytest.raises(SecretFault):
        with_ring.device_key()
    with pytest.raises(SecretFault):
        with_ring.keep_token(HOST, "notes", "dat1_canary")
    ring.wrong = None
    assert not ring.entries
    assert not with_ring.key_file.exists()


def test_our_own_mistake_is_not_taken_for_the_keyrings(with_ring: Secrets, ring: Ring) -> None:
    ring.wrong = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        with_ring.device_key()


def test_the_librarys_own_word_for_no_keyring_is_understood(with_ring: Secrets, ring: Ring) -> None:
    ring.wrong = keyring.errors.NoKeyringError("none")
    assert with_ring.device_key().kept.where == "file (unencrypted)"


@pytest.fixture
def no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session without D-Bus, with the keyring library's settings in a folder of its own."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    (tmp_path / "python_keyring").mkdir()
    return tmp_path / "python_keyring" / "keyringrc.cfg"


@pytest.mark.usefixtures("no_bus")
def test_a_session_without_a_bus_has_no_keyring_and_the_real_one_says_so(state: Path) -> None:
    with pytest.raises(NoKeyring, match="this session has no keyring"):
        system_keyring()
    secrets = Secrets(key_file=state / "device.key", env={})
    assert secrets.device_key().kept.where == "file (unencrypted)"
    assert secrets.keep_token(HOST, "notes", "dat1_canary").where == "memory (until it stops)"


PLAINTEXT = """
from pathlib import Path
import keyring.backend

class PlaintextKeyring(keyring.backend.KeyringBackend):
    priority = 99
    def get_password(self, service, username): return None
    def set_password(self, service, username, password):
        Path({file!r}).write_text(password)
    def delete_password(self, service, username): pass
"""


@pytest.mark.parametrize("way", ["variable", "file"])
def test_a_plug_in_that_writes_plain_text_is_neither_used_nor_even_loaded(
    state: Path, no_bus: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    import sys

    leaked = state / "leaked.txt"
    (state / "plaintext_plugin.py").write_text(PLAINTEXT.format(file=str(leaked)))
    monkeypatch.syspath_prepend(str(state))
    name = "plaintext_plugin.PlaintextKeyring"
    if way == "variable":
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", name)
    else:
        no_bus.write_text(f"[backend]\ndefault-keyring={name}\n")
    kept = Secrets(key_file=state / "device.key", env={}).keep_token(HOST, "notes", "dat1_canary")
    assert kept.where == "memory (until it stops)"
    assert f"the keyring is set to {name}, which is not a system keyring" in kept.notice
    assert not leaked.exists()
    assert "plaintext_plugin" not in sys.modules


@pytest.mark.parametrize("backend", ["null", "fail", "chainer"])
@pytest.mark.usefixtures("no_bus")
def test_a_keyring_that_forgets_fails_or_hides_another_is_no_keyring(
    state: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    cls = "ChainerBackend" if backend == "chainer" else "Keyring"
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", f"keyring.backends.{backend}.{cls}")
    secrets = Secrets(key_file=state / "device.key", env={})
    assert secrets.device_key().kept.where == "file (unencrypted)"
    assert secrets.keep_token(HOST, "notes", "t").where == "memory (until it stops)"


def test_an_unreadable_choice_of_keyring_is_no_choice_for_another(
    state: Path, no_bus: Path
) -> None:
    no_bus.write_bytes(b"\xff\xfe no section")
    with pytest.raises(NoKeyring, match=r"an unreadable keyringrc\.cfg"):
        system_keyring()
