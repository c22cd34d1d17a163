"""Secrets without a keyring, with one, and with one that we do not trust (threat rows 34, 35)."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import keyring.backend
import keyring.errors
import pytest

from agent.adapters.private_files import make_folder
from agent.adapters.secrets import Secrets, credential_name, token_entry
from agent.adapters.system_keyring import Keyring, NoKeyring, system_keyring
from tracking.errors import SecretFault, SettingsFault

HOST = "https://stats.example.org"


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory, with the library's own interface and its failures."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.wrong: Exception | None = None
        self.opened = threading.Event()  # a window that waits for a password while it is clear
        self.opened.set()

    def _answer(self) -> None:
        self.opened.wait()
        if self.wrong is not None:
            raise self.wrong

    def get_password(self, service: str, username: str) -> str | None:
        self._answer()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._answer()
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._answer()
        del self.entries[service, username]


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    make_folder(tmp_path / "state")
    return tmp_path / "state"


def absent() -> keyring.backend.KeyringBackend:
    raise NoKeyring("this session has no keyring")


@pytest.fixture
def with_ring(state: Path, ring: Ring) -> Secrets:
    return Secrets(key_file=state / "device.key", env={}, keyring=Keyring(find=lambda: ring))


@pytest.fixture
def without(state: Path) -> Callable[[], Secrets]:
    """An agent in a session without a keyring; each call is a new start."""
    return lambda: Secrets(key_file=state / "device.key", env={}, keyring=Keyring(find=absent))


# --- the device key -------------------------------------------------------------------------------


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


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_is_found_for_the_origin_it_was_saved_for_and_no_other(
    with_ring: Secrets, ring: Ring
) -> None:
    assert with_ring.keep_token(HOST, "notes", "dat1_canary") == ("keyring", "")
    assert ring.entries == {("homing:data:https://stats.example.org:443", "notes"): "dat1_canary"}
    found = with_ring.token("HTTPS://Stats.Example.org:443/", "notes")
    assert found is not None
    assert found.text == "dat1_canary"
    for elsewhere in (
        "https://evil.example.org",
        "https://stats.example.org.evil.tld",
        "https://stats.example.org:8443",
        "http://127.0.0.1:443",
    ):
        assert with_ring.token(elsewhere, "notes") is None
    assert with_ring.token(HOST, "paint") is None


def test_without_a_keyring_a_token_is_in_memory_only_and_that_is_said(
    without: Callable[[], Secrets], state: Path
) -> None:
    secrets = without()
    kept = secrets.keep_token(HOST, "notes", "dat1_canary")
    assert kept.where == "memory (until it stops)"
    assert "forgotten when the agent stops" in kept.notice
    found = secrets.token(HOST, "notes")
    assert found is not None
    assert found.text == "dat1_canary"
    assert without().token(HOST, "notes") is None, "a new start has forgotten it"
    assert not [p for p in state.rglob("*") if p.is_file() and b"canary" in p.read_bytes()]


def test_a_file_that_the_settings_name_comes_before_the_keyring(
    with_ring: Secrets, state: Path
) -> None:
    with_ring.keep_token(HOST, "notes", "from the keyring")
    file = state / "token"
    file.write_text("dat1_file\n")
    file.chmod(0o640)
    found = with_ring.token(HOST, "notes", file=file)
    assert found is not None
    assert (found.text, found.kept) == ("dat1_file", ("file you named", ""))
    file.write_text("two words\nand two lines")
    with pytest.raises(SecretFault, match="holds no token"):
        with_ring.token(HOST, "notes", file=file)
    file.unlink()
    with pytest.raises(SecretFault, match="does not exist"):
        with_ring.token(HOST, "notes", file=file)


def test_a_systemd_credential_is_bound_to_its_origin_too(state: Path) -> None:
    folder = state / "credentials"
    folder.mkdir()
    (folder / "homing-data-https-stats.example.org-443").write_text("for all")
    (folder / "homing-data-https-stats.example.org-443-notes").write_text("dat1_notes")
    for file in folder.iterdir():
        file.chmod(0o400)
    secrets = Secrets(
        key_file=state / "device.key",
        env={"CREDENTIALS_DIRECTORY": str(folder)},
        keyring=Keyring(find=absent),
    )
    found = secrets.token(HOST, "notes")
    assert found is not None
    assert (found.text, found.kept.where) == ("dat1_notes", "systemd credential")
    assert secrets.token("https://evil.example.org", "notes") is None
    with pytest.raises(SecretFault, match="holds no token"):
        secrets.token(HOST, "paint")  # its file holds two words
    (state / "outside").write_text("not_yours")
    (folder / "homing-data-https-other.example.org-443-").mkdir()
    assert secrets.token("https://other.example.org", "/../../outside") is None


def test_a_token_is_forgotten_wherever_it_is(
    with_ring: Secrets, without: Callable[[], Secrets]
) -> None:
    for secrets in (with_ring, without()):
        secrets.keep_token(HOST, "notes", "dat1_canary")
        assert secrets.forget_token(HOST, "notes")
        assert not secrets.forget_token(HOST, "notes")
        assert secrets.token(HOST, "notes") is None


@pytest.mark.parametrize("origin", ["http://10.0.0.1", "https://a:b@c", "ftp://x", "https://", ""])
def test_there_is_no_entry_for_what_is_no_origin(origin: str) -> None:
    with pytest.raises(SettingsFault):
        token_entry("homing", origin)


def test_entries_name_the_port_even_where_an_address_does_not() -> None:
    assert token_entry("homing", "https://a.b") == "homing:data:https://a.b:443"
    assert token_entry("homing", "http://[::1]:7780") == "homing:data:http://[::1]:7780"
    assert credential_name("http://[::1]:7780") == "homing-data-http-__1-7780"


# --- the keyring ----------------------------------------------------------------------------------


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
