"""The listening end of the local API: a Unix socket of ours, or loopback with a token.

Called by whoever holds the lock; so what lies at the path is stale, or not ours to touch.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import msgspec

from agent.adapters.local.asking import Loopback
from agent.adapters.machine.lock import Lock
from agent.adapters.machine.private_files import write_private
from tracking.errors import SettingsFault

BACKLOG = 128
TOKEN_BYTES = 32


def listen_unix(path: Path, lock: Lock) -> socket.socket:
    """Return a listening socket at ``path``, mode 0600.

    Raises:
        SettingsFault: Something that is not ours to remove lies there, or it cannot be made.

    """
    lock.clear_stale_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(path))  # the folder is 0700, so nobody connects before the next line
        path.chmod(0o600)
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise SettingsFault(
            f"cannot listen at {path}: {exc.strerror}", advice="Set HOMING_HOME to another folder."
        ) from exc
    sock.setblocking(False)
    return sock


def listen_loopback(port: int, file: Path) -> tuple[socket.socket, Loopback]:
    """Return a listening socket on 127.0.0.1, its address and token kept in ``file`` (0600).

    Raises:
        SettingsFault: The port is taken.

    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "nt":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise SettingsFault(
            f"cannot listen on 127.0.0.1:{port}: {exc.strerror}",
            advice="Set ipc.port to another port, or to 0 for any.",
        ) from exc
    sock.setblocking(False)
    loopback = Loopback(port=sock.getsockname()[1], token=secrets.token_urlsafe(TOKEN_BYTES))
    write_private(file, msgspec.json.encode(loopback))
    return sock, loopback
