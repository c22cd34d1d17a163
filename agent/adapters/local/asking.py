"""The client's end of the local socket: connect, make sure who is there, ask, listen.

An impostor that sits on the path must not be told anything (SECURITY.md row 8), so the path's
owner is checked before connecting and the server's user id after it. Over loopback the token
that only our user can read stands in for both.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tracking.errors import AgentGone, Fault, OverQuota, RequestFault, StorageFault

NOBODY = "no agent is running for this user"
START_IT = "Start it with `homing`, or `homing agent` where there is no display."
COME_AGAIN = "Try again in a moment; `homing status` names a program that holds its connections."
SOL_LOCAL = 0  #: macOS, <sys/un.h>: the level and the option that tell of a Unix socket's peer.
LOCAL_PEERCRED = 1
XUCRED_BYTES, XUCRED_HEAD, XUCRED_VERSION = 76, "=IIh", 0


class Loopback(msgspec.Struct, frozen=True, kw_only=True):
    """Where the agent listens when ``ipc.transport = "loopback"``; the file is 0600."""

    port: int
    token: str


class LocalAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A Unix socket's path, or a loopback port with its token.

    Attributes:
        lock: The lock file of the agent that wrote the port down. A killed agent leaves its port
            to anybody, so the token is sent only while somebody holds the lock.

    """

    path: str = ""
    loopback: Loopback | None = None
    lock: str = ""

    def __str__(self) -> str:
        return self.path if self.loopback is None else f"127.0.0.1:{self.loopback.port}"


def read_loopback(file: Path) -> Loopback | None:
    """Return where a loopback agent listens, or None if there is no such file.

    Raises:
        Fault: The file is not ours alone; its token may be known to others.

    """
    try:
        fd = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with os.fdopen(fd, "rb") as stream:
        found = os.fstat(stream.fileno())
        if sys.platform != "win32" and (found.st_uid != os.getuid() or found.st_mode & 0o077):
            raise Fault(f"{file} can be read by others", advice="Delete it and restart the agent.")
        try:
            return msgspec.json.decode(stream.read(), type=Loopback)
        except msgspec.MsgspecError:
            return None


def open_socket(address: LocalAddress, timeout_s: float | None) -> socket.socket:
    """Connect to the agent.

    Raises:
        AgentGone: Nobody listens there.
        Fault: Somebody else does.

    """
    if address.loopback is not None:
        if address.lock and sys.platform != "win32":
            from agent.adapters.machine.lock import is_held  # its locks are of Unix

            if not is_held(Path(address.lock)):
                raise AgentGone(NOBODY, advice=START_IT)
        try:
            return socket.create_connection(("127.0.0.1", address.loopback.port), timeout_s)
        except OSError as exc:
            raise AgentGone(NOBODY, advice=START_IT) from exc
    path = Path(address.path)
    try:
        found = path.lstat()
    except OSError as exc:
        raise AgentGone(NOBODY, advice=START_IT) from exc
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
        raise Fault(
            f"{path} is not a socket of this user, so nothing was sent to it",
            advice="Find out who made it; `homing doctor` shows where the agent listens.",
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        sock.connect(os.fspath(path))
    except OSError as exc:
        sock.close()
        raise AgentGone(NOBODY, advice=START_IT) from exc
    if peer_uid(sock) not in (None, os.getuid()):
        sock.close()
        raise Fault(f"{path} is served by another user, so nothing was sent to it")
    return sock


def peer_uid(sock: socket.socket) -> int | None:
    """Return the user id at the other end, or None where the system cannot tell."""
    if hasattr(socket, "SO_PEERCRED"):
        size = struct.calcsize("3i")
        return int(
            struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1]
        )
    if sys.platform == "darwin":
        return uid_of_xucred(sock.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED_BYTES))
    return None


def uid_of_xucred(raw: bytes) -> int:
    """Return the user id in what macOS tells of a peer.

    Args:
        raw: ``struct xucred`` of <sys/ucred.h>: version, uid, group count, 16 groups.

    Raises:
        Fault: It is not of the one version there is; nobody may be let in for that.

    """
    if len(raw) < struct.calcsize(XUCRED_HEAD):
        raise Fault("the system does not tell who is at the other end of the local socket")
    version, uid, _ = struct.unpack_from(XUCRED_HEAD, raw)
    if version != XUCRED_VERSION:
        raise Fault(f"the system tells of a peer in form {version}, which is not known here")
    return int(uid)


class _Connection(http.client.HTTPConnection):
    """An HTTP connection whose socket is already ours."""

    def __init__(self, sock: socket.socket, address: LocalAddress) -> None:
        super().__init__("localhost")
        self.sock = sock
        self.address = address

    def connect(self) -> None:
        raise gone(self.address)


def gone(address: LocalAddress) -> AgentGone:
    """Return why a connection ended that an agent had taken.

    Who still takes connections runs, and needs no advice to be started.
    """
    try:
        open_socket(address, 1.0).close()
    except Fault:
        return AgentGone("the agent closed the connection, and has ended", advice=START_IT)
    return AgentGone("the agent is busy: it closed the connection", advice=COME_AGAIN)


def headers_for(address: LocalAddress) -> dict[str, str]:
    """Return what every request to this address carries."""
    if address.loopback is None:
        return {}
    return {"Authorization": f"Bearer {address.loopback.token}"}


def ask(
    address: LocalAddress,
    method: str,
    path: str,
    body: Mapping[str, object] | None = None,
    *,
    timeout_s: float = 15.0,
) -> bytes:
    """Send one request; return the answer's body.

    Raises:
        AgentGone: Nobody answers.
        Fault: The agent refused, with its own sentence, code and advice.

    """
    with contextlib.closing(_Connection(open_socket(address, timeout_s), address)) as connection:
        sent = None if body is None else msgspec.json.encode(dict(body))
        headers = {"Content-Type": "application/json", "Connection": "close"}
        try:
            connection.request(method, path, sent, headers | headers_for(address))
            response = connection.getresponse()
            raw = response.read()
        except TimeoutError as exc:
            raise AgentGone(f"the agent did not answer within {timeout_s:g} s") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise gone(address) from exc
        if response.status >= 400:
            raise _fault(response.status, raw, response.headers.get("Retry-After", ""))
        return raw


def _fault(status: int, raw: bytes, retry_after: str) -> Fault:
    """Give an error answer its type back."""
    try:
        said: Any = msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        said = {}
    said = said if isinstance(said, dict) else {}
    text, advice = str(said.get("error") or f"HTTP {status}"), str(said.get("advice") or "")
    if status == 429:
        wait_s = float(retry_after) if retry_after.isdigit() else 1.0
        return OverQuota(text, retry_after_s=wait_s, advice=advice)
    if status in (503, 507):
        return StorageFault(text, advice=advice)
    return RequestFault(text, field=str(said.get("field") or ""), status=status, advice=advice)


def listen(address: LocalAddress, path: str, sockets: list[socket.socket]) -> Iterator[bytes]:
    """Yield the text messages of a WebSocket of the agent's, until it ends.

    Args:
        address: Where the agent listens.
        path: Path of the WebSocket.
        sockets: The open socket is put here, so that another thread can shut it down.

    Raises:
        AgentGone: The agent went away.

    """
    import websocket

    sock = open_socket(address, 15.0)
    sockets[:] = [sock]
    ws = websocket.WebSocket(skip_utf8_validation=True)
    try:
        ws.connect(  # type: ignore[no-untyped-call]
            f"ws://localhost{path}",
            socket=sock,
            redirect_limit=0,
            suppress_origin=True,
            header=[f"{key}: {value}" for key, value in headers_for(address).items()],
        )
        sock.settimeout(None)
        while True:
            data = ws.recv()
            if not data:
                return
            yield data.encode() if isinstance(data, str) else data
    except (websocket.WebSocketException, OSError) as exc:
        raise gone(address) from exc
    finally:
        with contextlib.suppress(OSError):
            sock.close()
