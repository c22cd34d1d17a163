"""Other people on this machine and what they can do to us; agents with a keyring and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.machine.private_files import make_folder
from agent.adapters.machine.secrets import Secrets
from agent.adapters.machine.system_keyring import Keyring

sys.path.insert(0, str(Path(__file__).resolve().parent))  # rings: equipment of this room

from rings import Ring, absent

STRANGER = 65534  #: nobody, on every Linux.


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="homing-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def give_away() -> Callable[[Path], int]:
    """Make a file or folder somebody else's; return who *we* are towards it.

    Root really gives it away. Anybody else cannot, so the roles are exchanged: the file stays,
    and the code under test is told that it runs for another user.
    """

    def give(path: Path) -> int:
        if os.getuid() == 0:
            os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
            return 0
        return os.getuid() + 1

    return give


BECOME = """
import os, sys
from pathlib import Path
uid, path = int(sys.argv[1]), Path(sys.argv[2])
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
"""


@pytest.fixture
def as_stranger() -> Callable[[str, str, Path], str]:
    """Run Python code as another user (root), or as ourselves claiming to be one (others).

    Imports come first and apart: the other user may not be able to read the interpreter's home.
    The code gets ``uid`` and ``path``; what it says is returned.
    """

    def run(imports: str, code: str, path: Path) -> str:
        uid = STRANGER if os.getuid() == 0 else os.getuid() + 1
        done = subprocess.run(
            [sys.executable, "-c", f"{imports}\n{BECOME}\n{code}", str(uid), str(path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout + done.stderr

    return run


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    make_folder(tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def with_ring(state: Path, ring: Ring) -> Secrets:
    return Secrets(key_file=state / "device.key", env={}, keyring=Keyring(find=lambda: ring))


@pytest.fixture
def without(state: Path) -> Callable[[], Secrets]:
    """An agent in a session without a keyring; each call is a new start."""
    return lambda: Secrets(key_file=state / "device.key", env={}, keyring=Keyring(find=absent))
