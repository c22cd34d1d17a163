"""Where things are kept on this computer.

``HOMING_HOME=DIR`` puts everything of one agent below ``DIR``: tests, demos, two agents side by
side. Otherwise each system's own habits apply (platformdirs). The socket lies in
``$XDG_RUNTIME_DIR/homing`` if that folder can be believed, else in the state folder: never in
/tmp, never in the abstract namespace (SECURITY.md, decision 1; threat rows 3, 4, 7, 13).

The lock lies in the state folder and not beside the socket: what it guards is the outbox, and
two logins of one person may have different runtime folders.

:meth:`Places.find` only looks. :meth:`Places.prepare` makes the folders and trusts none that it
has not examined.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from agent.adapters.machine.private_files import PUBLIC_WRITE, is_private_folder, make_folder
from tracking.errors import SettingsFault

NAME = "homing"
SOCKET = "agent.sock"

#: Bytes that fit into ``sun_path`` with their closing zero: 108 on Linux, 104 on macOS.
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders and files of one agent.

    Attributes:
        config: Settings, written by a person.
        data: The outbox, and the far end kept on this computer.
        state: The lock, the port, the device key where no keyring is.
        runtime: The socket.
        logs: Log files.
        socket: The local API's address.
        home: The folder named by ``HOMING_HOME``, None without it.
        note: Why the runtime folder is not the one that the system names; empty if it is.

    """

    config: Path
    data: Path
    state: Path
    runtime: Path
    logs: Path
    socket: Path
    home: Path | None = None
    note: str = ""

    @classmethod
    def find(cls, env: Mapping[str, str], *, uid: int | None = None) -> Places:
        """Return where things are, without touching anything.

        Args:
            env: ``HOMING_HOME`` and ``XDG_RUNTIME_DIR`` are read from here. The other ``XDG_*``
                variables are platformdirs' business, which reads the process's own.
            uid: Who we are.

        """
        runtime, note = _runtime(env, uid)
        if named := env.get("HOMING_HOME"):
            home = Path(named).expanduser().absolute()
            preferred = home / "run"
            return cls(
                config=home / "config",
                data=home / "data",
                state=home / "state",
                runtime=preferred,
                logs=home / "logs",
                socket=_fitting(preferred / SOCKET, runtime),
                home=home,
            )
        dirs = platformdirs.PlatformDirs(NAME, appauthor=False)
        state = Path(dirs.user_state_dir)
        preferred = state if runtime is None else runtime
        return cls(
            config=Path(dirs.user_config_dir),
            data=Path(dirs.user_data_dir),
            state=state,
            runtime=preferred,
            logs=Path(dirs.user_log_dir),
            socket=_fitting(preferred / SOCKET, runtime),
            note=note,
        )

    @property
    def lock(self) -> Path:
        """The file whose lock says who may use the outbox."""
        return self.state / "agent.lock"

    @property
    def spool(self) -> Path:
        """What apps left while no agent ran (docs/spool.md)."""
        return self.state / "spool"

    @property
    def outbox(self) -> Path:
        """The queue on disk."""
        return self.data / "outbox.db"

    @property
    def settings_file(self) -> Path:
        """What a person edits."""
        return self.config / "homing.toml"

    @property
    def device_key(self) -> Path:
        """The device key, where no keyring is and no setting names another file."""
        return self.state / "device.key"

    @property
    def keyring_service(self) -> str:
        """Our name in the keyring: an agent with a ``HOMING_HOME`` has entries of its own."""
        if self.home is None:
            return NAME
        return f"{NAME}-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]}"

    def prepare(self, *, uid: int | None = None) -> Places:
        """Make every folder, ours alone; return self.

        Raises:
            SettingsFault: A folder is a link, a file, or somebody else's.
            StorageFault: A folder cannot be made.

        """
        uid = os.getuid() if uid is None else uid
        if self.home is not None:
            _examine_home(self.home, uid)
        socket_folder = self.socket.parent
        for folder in (self.config, self.data, self.state, self.logs, self.runtime, socket_folder):
            make_folder(folder, uid=uid)
        return self

    def check_socket(self) -> Path:
        """Return the socket's path.

        Raises:
            SettingsFault: It is longer than a socket address can be.

        """
        length = len(os.fsencode(self.socket))
        if length > SOCKET_PATH_BYTES:
            raise SettingsFault(
                f"the socket's path has {length} bytes, this system allows {SOCKET_PATH_BYTES}:"
                f" {self.socket}",
                advice='Set HOMING_HOME to a shorter path, or ipc.transport to "loopback".',
            )
        return self.socket


def _runtime(env: Mapping[str, str], uid: int | None) -> tuple[Path | None, str]:
    """Return the folder for sockets below ``XDG_RUNTIME_DIR``, or why it is not believed."""
    named = env.get("XDG_RUNTIME_DIR", "")
    if not named:
        return None, ""
    folder = Path(named)
    why = is_private_folder(folder, uid=uid) if folder.is_absolute() else "it is not absolute"
    if why:
        return None, f"XDG_RUNTIME_DIR is not used: {why}"
    return folder / NAME, ""


def _fitting(preferred: Path, runtime: Path | None) -> Path:
    """Return ``preferred``, or a short name in the runtime folder if it is too long for a socket.

    The short name is a digest of the long one, so that every client finds the same socket.
    """
    if runtime is None or len(os.fsencode(preferred)) <= SOCKET_PATH_BYTES:
        return preferred
    digest = hashlib.sha256(os.fsencode(preferred)).hexdigest()[:16]
    short = runtime / f"{digest}.sock"
    return short if len(os.fsencode(short)) <= SOCKET_PATH_BYTES else preferred


def _examine_home(home: Path, uid: int) -> None:
    """Refuse a ``HOMING_HOME`` through which others could exchange what lies below it.

    A link is a person's own choice if it is the person's own, or root's.
    """
    trusted = {uid, 0}
    if home.is_symlink() and home.lstat().st_uid not in trusted:
        raise SettingsFault(
            f"HOMING_HOME={home} is a link of user {home.lstat().st_uid}",
            advice="Set HOMING_HOME to a folder of your own.",
        )
    if not home.exists():
        make_folder(home, uid=uid)
        return
    found = home.stat()
    if found.st_uid not in trusted:
        raise SettingsFault(
            f"HOMING_HOME={home} belongs to user {found.st_uid}, we are user {uid}",
            advice="Set HOMING_HOME to a folder of your own.",
        )
    if found.st_mode & PUBLIC_WRITE and not found.st_mode & stat.S_ISVTX:
        raise SettingsFault(
            f"HOMING_HOME={home} can be changed by everybody",
            advice=f"Run: chmod o-w {home}",
        )
