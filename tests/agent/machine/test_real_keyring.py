"""A real Secret Service: gnome-keyring in a D-Bus session of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

# An empty line is the empty password of a new keyring; no line at all would be "no password
# given", and the first question would open a window.
UNLOCKED = "eval \"$(printf '\\n' | gnome-keyring-daemon --unlock --components=secrets 2>&1)\""
LOCKED = 'eval "$(gnome-keyring-daemon --start --components=secrets 2>/dev/null)"'

READY = """
for i in $(seq 100); do
    dbus-send --session --print-reply --dest=org.freedesktop.DBus / \
        org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets 2>/dev/null \
        | grep -q true && break
    sleep 0.05
done
"""

HEAD = """
import os, signal, sys
from pathlib import Path
from agent.adapters.machine.secrets import Secrets
from agent.adapters.machine.system_keyring import Keyring
from tracking.errors import SecretFault
secrets = Secrets(key_file=Path(sys.argv[1]), env={}, keyring=Keyring(patience_s=PATIENCE))
"""


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """The folders of a person who has just logged in."""
    for name in ("run", "data", "config", "cache", "state"):
        (tmp_path / name).mkdir(mode=0o700)
    return tmp_path


def log_in(session: Path, daemon: str, *programs: str) -> list[str]:
    """Start a session with a keyring, run Python programs in it one after the other.

    The daemon ends with the session's bus.
    """
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(session),
        "XDG_RUNTIME_DIR": str(session / "run"),
        "XDG_DATA_HOME": str(session / "data"),
        "XDG_CONFIG_HOME": str(session / "config"),
        "XDG_CACHE_HOME": str(session / "cache"),
        "KEY_FILE": str(session / "state" / "device.key"),
        "PYTHON": sys.executable,
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    lines = []
    for number, program in enumerate(programs):
        file = session / f"program{number}.py"
        file.write_text(program)
        lines.append(f'"$PYTHON" -W error {file} "$KEY_FILE"')
    script = "\n".join([daemon, READY, *lines])
    done = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_key_and_token_survive_in_the_systems_keyring_and_nowhere_else(session: Path) -> None:
    head = HEAD.replace("PATIENCE", "30")
    first = """
key = secrets.device_key()
print(key.key.hex(), key.kept.where)
print(secrets.keep_token("https://stats.example.org", "notes", "dat1_canary-żółć").where)
"""
    second = """
key = secrets.device_key()
print(key.key.hex(), key.kept.where)
print(secrets.token("https://stats.example.org", "notes").text)
print(secrets.token("https://evil.example.org", "notes"))
print(secrets.forget_device_key(), secrets.forget_token("https://stats.example.org", "notes"))
print(secrets.token("https://stats.example.org", "notes"))
print(secrets.device_key().key.hex() == key.key.hex())
"""
    said = log_in(session, UNLOCKED, head + first, head + second)
    assert said[0] == said[2]
    assert said[0].endswith(" keyring")
    assert said[1] == "keyring"
    assert said[3:] == ["dat1_canary-żółć", "None", "['keyring'] True", "None", "False"]
    assert not (session / "state" / "device.key").exists()
    for file in session.rglob("*"):
        if file.is_file() and not file.name.startswith("program"):
            assert b"canary" not in file.read_bytes()


def test_without_a_keyring_the_key_lies_in_a_file_and_nobody_is_asked_for_a_password(
    session: Path,
) -> None:
    program = (
        HEAD.replace("PATIENCE", "30")
        + """
print(secrets.device_key().kept.where)
try:
    secrets.token("https://stats.example.org", "notes")
except SecretFault as fault:
    print(fault, "|", fault.advice)
"""
    )
    said = log_in(session, LOCKED, program)
    assert said == ["file (unencrypted)", "the keyring is locked | Unlock your keyring."]
    assert [file.name for file in (session / "state").iterdir()] == ["device.key"]


def test_a_key_is_forgotten_without_asking_for_a_password_to_a_keyring_that_is_not_there(
    session: Path,
) -> None:
    program = (
        HEAD.replace("PATIENCE", "30")
        + """
secrets.device_key()
print(secrets.forget_device_key() == [sys.argv[1]])
print(secrets.forget_token("https://stats.example.org", "notes"))
"""
    )
    assert log_in(session, LOCKED, program) == ["True", "False"]


def test_a_locked_keyring_is_a_fault_and_no_reason_to_write_a_file(session: Path) -> None:
    head = HEAD.replace("PATIENCE", "30")
    lock = """
import secretstorage
print(secrets.device_key().kept.where)
with contextlib.closing(secretstorage.dbus_init()) as bus:
    secretstorage.get_default_collection(bus).lock()
try:
    secrets.device_key()
except SecretFault as fault:
    print(fault, "|", fault.advice)
"""
    said = log_in(session, UNLOCKED, "import contextlib\n" + head + lock)
    assert said == ["keyring", "the keyring is locked | Unlock your keyring."]
    assert not list((session / "state").iterdir())


def test_a_keyring_that_hangs_is_given_up_in_time_and_used_when_it_is_back(session: Path) -> None:
    program = (
        HEAD.replace("PATIENCE", "20")
        + """
import subprocess, time
key = secrets.device_key().key
whose = ["dbus-send", "--session", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/",
         "org.freedesktop.DBus.GetConnectionUnixProcessID", "string:org.freedesktop.secrets"]
pid = int(subprocess.check_output(whose, text=True).split()[-1])
os.kill(pid, signal.SIGSTOP)
secrets.keyring.patience_s = 0.3
began = time.monotonic()
try:
    secrets.device_key()
except SecretFault as fault:
    print(fault, time.monotonic() - began < 5)
finally:
    os.kill(pid, signal.SIGCONT)
secrets.keyring.patience_s = 20
print(secrets.device_key().key == key)
"""
    )
    said = log_in(session, UNLOCKED, program)
    assert said == ["the keyring did not answer within 0.3 s True", "True"]
