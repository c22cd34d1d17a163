"""Report events through Homing from any Python program: one file to copy, nothing to install.

    from homing_client import Homing

    homing = Homing("acme-notes")
    homing.track("build.finished", {"seconds": 12})

``track`` puts the event into a queue and returns; a daemon thread hands the queue to the agent
on this computer and waits until it says that the events are on its disk. While no agent
runs they are written to the spool (docs/spool.md of Homing), which it takes in when it starts.

Promises:
    1. Nothing here raises into the program, and nothing but ``flush`` and ``close`` waits.
    2. Each event has an id of its own from the start, so it is stored once, however often and
       by whichever way it is handed over.
    3. At most 10,000 events and 8 MiB are held in memory, and 8 MiB in the spool: beyond that
       the newest are dropped, and ``stats()["dropped"]`` says how many.
    4. What is unacknowledged when the program ends is spooled, within 2 s. A program that is ended
       without its interpreter (SIGKILL, SIGTERM without a handler, ``os._exit``) loses what was
       tracked in its last moments, milliseconds mostly: ``flush`` before.
    5. A child made by ``fork`` starts with an empty queue: what waited is its parent's to report.

``DO_NOT_TRACK`` in the environment turns all of it off. Python 3.8 or newer. The file has more than
400 lines because it is copied as one.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import hashlib
import json
import os
import random
import re
import selectors
import socket
import stat
import struct
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from typing import Any, Callable, Mapping

__all__ = ["Homing"]

APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_EVENTS, MOST_BYTES = 10_000, 8 * 1024 * 1024
EVENT_BYTES = 32 * 1024  #: The agent refuses a larger one.
FRAME_EVENTS, FRAME_BYTES = 500, 256 * 1024
SPOOL_BYTES = 8 * 1024 * 1024  #: Of one app, over all of its files.
GATHER_S = 0.02  #: So that a burst goes to the spool in one write, and the program has the CPU.
ACK_S = 10.0  #: An agent that has not answered by then is as good as none.
RETRY_S, MOST_RETRY_S = 1.0, 60.0
NOT_ALLOWED_S = 30.0  #: Nobody allowed the app yet: a person is not asked every second.
EXIT_S = 2.0  #: All that the end of the program waits, for all clients.
TEXT_CHARACTERS = 4_000  #: Of an error's message, and of its stack.

_clients: weakref.WeakSet[Homing] = weakref.WeakSet()


class Homing:
    """One app that reports. Make one and keep it; any thread may call it.

    Args:
        app_id: The app's id, as `homing.toml` or a person allowed it.
        spool: Whether to leave events on disk while no agent runs.
        debug: True writes difficulties to standard error; a callable is given each sentence,
            mostly on the client's own thread.
        env: The environment; ``HOMING_HOME`` and others are read from here.

    """

    def __init__(
        self,
        app_id: str,
        *,
        spool: bool = True,
        debug: bool | Callable[[str], object] = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.app_id = str(app_id)
        self._debug = debug
        env = os.environ if env is None else env
        asked = str(env.get("DO_NOT_TRACK") or "").strip().lower()
        self._silent = asked not in ("", "0", "false")
        self._user: str | None = None
        self._props: dict[str, Any] = {}
        self._path, state = "", ""
        try:
            self._path, state = _places(env)
        except Exception as exc:
            self._say("cannot tell where the agent is", exc)
        self._loopback_file = os.path.join(state, "loopback.json") if state else ""
        self._spool = _Spool(os.path.join(state, "spool"), self.app_id) if spool and state else None
        self._head = b'{"appId":%s,"data":[' % json.dumps(self.app_id).encode()
        self._closed = False
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        """Start empty: at first, and in a child of fork, where locks may be held for ever."""
        self._lock = threading.RLock()  # reentrant: a signal handler may track, too
        self._settled = threading.Condition(self._lock)
        self._starting = threading.Lock()
        self._queue: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._flying: list[tuple[str, bytes]] = []  # sent, and not answered yet
        self._counts = dict.fromkeys(
            ("tracked", "acknowledged", "spooled", "refused", "dropped", "connections"), 0
        )
        self._thread: threading.Thread | None = None
        self._asleep = self._urgent = self._exiting = False
        self._exit_at: float | None = None
        self._sock: socket.socket | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._selector: selectors.BaseSelector | None = None
        self._out = self._in = b""
        self._attempt, self._retry_at, self._due = 0, 0.0, 0.0

    # --- what a program calls ------------------------------------------------------------------

    def track(self, name: str, payload: Mapping[str, Any] | None = None) -> None:
        """Report that something happened, with JSON properties of its own."""
        self._report("event", name, payload)

    def error(
        self,
        name: str,
        error: BaseException | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> None:
        """Report an error; of an exception its message and its stack."""
        said: dict[str, Any] = {}
        try:
            if error is not None:
                lines = traceback.format_exception(type(error), error, error.__traceback__)
                stack = "".join(lines)[-TEXT_CHARACTERS:]
                said = {"message": str(error)[:TEXT_CHARACTERS], "stack": stack}
            said.update(payload or {})
        except Exception as exc:  # an exception whose text raises
            self._say("an error could not be described", exc)
        self._report("error", name, said or None)

    def identify(self, user_id: str | None) -> None:
        """Say who uses the app; told with every event from now on. None: nobody."""
        try:
            self._user = None if user_id is None else str(user_id)
        except Exception as exc:
            self._say("that is no user id", exc)
            return
        if self._user is not None:
            self._report("userid", None, None)

    def set_props(self, props: Mapping[str, Any]) -> None:
        """Add to what is known of the user; the whole of it is told."""
        try:
            self._props.update(props)
            self._report("props", None, dict(self._props))
        except Exception as exc:
            self._say("props must be a mapping", exc)

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until everything tracked so far is on disk, the agent's or the spool's."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while self._queue or self._flying:
                self._urgent = True
                self._rouse(at_once=True)
                left = deadline - time.monotonic()
                if left <= 0 or not self._runs():
                    return False
                self._settled.wait(left)
        return True

    def close(self, timeout: float = 2.0) -> None:
        """Hand everything over or spool it, and end; what is tracked later is dropped."""
        self.flush(timeout)
        _end([self], 0.0)
        with self._lock:
            self._closed = True
            self._counts["dropped"] += len(self._queue)
            self._queue.clear()
            self._bytes = 0

    def stats(self) -> dict[str, int]:
        """Return counts: tracked = acknowledged + spooled + refused + dropped + queued."""
        with self._lock:
            return {**self._counts, "queued": len(self._queue) + len(self._flying)}

    # --- into the queue ------------------------------------------------------------------------

    def _report(self, kind: str, name: str | None, payload: Mapping[str, Any] | None) -> None:
        if self._silent:
            return
        try:
            line = self._encoded(kind, name, payload)
        except Exception as exc:  # whatever a payload's own methods raise, too
            with self._lock:
                self._counts["tracked"] += 1
                self._counts["refused"] += 1
            self._say(f"an event was not taken: {type(exc).__name__}", exc)
            return
        with self._lock:
            self._counts["tracked"] += 1
            full = len(self._queue) >= MOST_EVENTS or self._bytes + len(line[1]) > MOST_BYTES
            if full or self._closed:
                self._counts["dropped"] += 1
            else:
                self._queue.append(line)
                self._bytes += len(line[1])
                self._rouse()
            if self._exiting and not self._runs():
                self._leave()
        if full:
            self._say("an event was dropped: the queue is full")

    def _encoded(
        self, kind: str, name: str | None, payload: Mapping[str, Any] | None
    ) -> tuple[str, bytes]:
        if not APP_ID.fullmatch(self.app_id):
            raise ValueError(f"an app's id is 1 to 64 of A-Z a-z 0-9 _ -, got {self.app_id!r}")
        now = time.time()
        event: dict[str, Any] = {"type": kind}
        if name is not None:
            event["name"] = str(name)
        event["id"] = id_ = base64.urlsafe_b64encode(os.urandom(15)).decode()
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        event["date"] = f"{second}.{int(now % 1 * 1000):03}Z"
        if self._user is not None:
            event["userId"] = self._user
        if payload is not None:
            event["payload"] = dict(payload)
        text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        line = text.encode()
        if len(line) > EVENT_BYTES:
            raise ValueError(f"{len(line)} bytes, the limit is {EVENT_BYTES}")
        return id_, line

    def _runs(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _rouse(self, *, at_once: bool = False) -> None:
        """Start the thread, or wake it if it has nothing to do. Under the lock.

        One that waits for an answer is left alone, for each wake costs the program a moment.
        """
        if self._wake is not None and (self._asleep or (at_once and self._runs())):
            self._asleep = False
            with contextlib.suppress(OSError):
                self._wake[1].send(b"\0")
        elif (
            (self._queue or self._flying)
            and not (self._exiting or self._runs())
            and self._starting.acquire(blocking=False)  # else a signal came while we were at it
        ):
            try:
                self._start()
            except (OSError, RuntimeError) as exc:  # no descriptor, no thread, the very end
                self._shut()
                self._thread = None
                self._say("the client's thread cannot start", exc)
            finally:
                self._starting.release()

    def _start(self) -> None:
        if self._runs():
            return
        self._wake = socket.socketpair()
        for end in self._wake:
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake[0], selectors.EVENT_READ)
        _at_the_end_of_a_worker()
        self._thread = threading.Thread(target=self._run, name="homing", daemon=True)
        self._thread.start()

    def _say(self, sentence: str, *more: object) -> None:
        with contextlib.suppress(Exception):  # also what the texts of others raise
            sentence = ": ".join([sentence, *map(str, more)])
            if callable(self._debug):
                self._debug(sentence)
            elif self._debug and sys.stderr is not None:
                sys.stderr.write(f"homing: {sentence}\n")

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                if self._step():
                    return
            except Exception as exc:  # never into the program, and never in a circle
                self._lost(f"{exc!r}")
                time.sleep(0.05)

    def _step(self) -> bool:
        """Do what can be done, then sleep until more can; return whether it is time to end."""
        now = time.monotonic()
        with self._lock:
            ending = self._exit_at is not None
            done = not self._queue and not self._flying
            if self._exit_at is not None and (done or now >= self._exit_at):
                self._leave()
                self._shut()
                return True
            urgent, self._urgent = self._urgent, False
        if self._flying and now >= self._due:
            self._lost("the agent does not answer")
        if not done and self._sock is None and (urgent or now >= self._retry_at):
            self._connect()
        if self._sock is None and not (done or urgent or ending):
            time.sleep(GATHER_S)
        stuck = self._sock is None and not self._leave()
        if self._sock is not None and not self._flying and now >= self._due:
            self._send()
        with self._lock:
            waits = [self._exit_at] if self._exit_at is not None else []
            if self._flying:
                waits.append(self._due)
            elif self._queue:
                waits.append(self._due if self._sock else self._retry_at if stuck else now)
            elif ending or self._exit_at is not None:
                return False
            self._asleep = not waits
        timeout = None if not waits else max(0.0, min(waits) - time.monotonic())
        self._sleep(timeout)
        return False

    def _sleep(self, timeout: float | None) -> None:
        assert self._selector is not None
        assert self._wake is not None
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._wake[0]:
                with contextlib.suppress(OSError):
                    self._wake[0].recv(4096)
            elif events & selectors.EVENT_READ:
                self._hear()
            elif self._sock is not None and self._out:
                self._out = self._out[self._sock.send(self._out) :]
                self._watch()
        self._asleep = False

    def _watch(self) -> None:
        if self._selector is not None and self._sock is not None:
            write = selectors.EVENT_WRITE if self._out else 0
            self._selector.modify(self._sock, selectors.EVENT_READ | write)

    def _connect(self) -> None:
        try:
            sock, hello = _dial(self._path, self._loopback_file)
        except (OSError, ValueError) as exc:
            self._lost(f"no agent: {exc}")
            return
        sock.setblocking(False)
        self._sock, self._out, self._in, self._due = sock, hello, b"", 0.0
        self._counts["connections"] += 1
        if self._selector is not None:
            self._selector.register(sock, selectors.EVENT_READ)

    def _send(self) -> None:
        with self._lock:
            size = 0
            while self._queue and len(self._flying) < FRAME_EVENTS and size < FRAME_BYTES:
                self._flying.append(self._queue.popleft())
                size += len(self._flying[-1][1])
            self._bytes -= size
        if self._flying:
            frame = self._head + b",".join([line for _, line in self._flying]) + b"]}\n"
            self._out += frame
            self._due = time.monotonic() + ACK_S
            self._watch()

    def _hear(self) -> None:
        assert self._sock is not None
        try:
            heard = self._sock.recv(1 << 18)
        except BlockingIOError:
            return
        if not heard or len(self._in) > MOST_BYTES:
            self._lost("the agent closed the connection")
            return
        line, newline, rest = (self._in + heard).partition(b"\n")
        self._in = rest if newline else line
        if newline:
            self._answered(json.loads(line))

    def _answered(self, said: dict[str, Any]) -> None:
        ids = set(said.get("reportedIds") or ())
        bad = {one.get("index") for one in said.get("refused") or ()}
        now, code = time.monotonic(), said.get("code")
        with self._lock:
            sent = self._flying
            refused = [id_ for n, (id_, _) in enumerate(sent) if n in bad and id_ in ids]
            left = [event for event in sent if event[0] not in ids]
            self._counts["refused"] += len(refused)
            self._counts["acknowledged"] += len(sent) - len(left) - len(refused)
            self._flying = left
            self._settled.notify_all()
        if said.get("error"):
            self._say(str(said["error"]))
        self._due = 0.0
        if not left:
            self._attempt = 0
        elif code == "request.over_quota":
            self._due = now + RETRY_S * (1 + random.random())
            with self._lock:
                self._flying = []
                self._back(left)
        else:
            self._lost(f"{len(left)} events were not taken")
            if str(code).startswith(("request", "consent")):
                self._retry_at = now + NOT_ALLOWED_S * (1 + random.random())

    def _back(self, events: list[tuple[str, bytes]]) -> None:
        """Put events back to the front of the queue. Under the lock."""
        self._queue.extendleft(reversed(events))
        self._bytes += sum(len(line) for _, line in events)

    def _lost(self, why: str) -> None:
        """End the connection; what flew is queued again, and the next dial is put off.

        One that ends in silence (an agent closes what is idle for long) is no reason to wait.
        """
        self._say(why)
        silent = self._sock is not None and not self._flying
        if self._sock is not None:
            with contextlib.suppress(Exception):
                if self._selector is not None:
                    self._selector.unregister(self._sock)
                self._sock.close()
            self._sock = None
        with self._lock:
            flew, self._flying = self._flying, []
            self._back(flew)
        self._out = self._in = b""
        if silent:
            self._retry_at = 0.0
            return
        ceiling = min(MOST_RETRY_S, RETRY_S * 2.0 ** min(self._attempt, 16))
        self._attempt += 1
        self._retry_at = time.monotonic() + 0.05 + random.random() * ceiling  # full jitter

    # --- the spool -----------------------------------------------------------------------------

    def _leave(self) -> bool:
        """Move the queue to the spool, at the end also what flew; return whether that went well."""
        with self._lock:
            if self._exit_at is not None:
                flew, self._flying = self._flying, []
                self._back(flew)
            events = list(self._queue)
        last = self._exit_at is not None
        if self._spool is None or not (events or (last and self._spool.untold)):
            return not events
        try:
            kept = self._spool.append([line for _, line in events], last=last)
        except (OSError, ValueError) as exc:
            self._say(f"the spool cannot be written: {exc}")
            return False
        with self._lock:
            for _ in events:
                self._bytes -= len(self._queue.popleft()[1])
            self._counts["spooled"] += kept
            self._counts["dropped"] += len(events) - kept
            self._settled.notify_all()
        if kept < len(events):
            self._say(f"{len(events) - kept} events were dropped: the spool is full")
        return True

    def _shut(self) -> None:
        """Let go of every descriptor."""
        wake = self._wake or ()
        for thing in (self._sock, self._selector, *wake):
            if thing is not None:
                with contextlib.suppress(Exception):
                    thing.close()
        self._sock = self._selector = self._wake = None
        self._asleep = False

    def _born(self) -> None:
        """Begin anew in a child of fork; what is queued is the parent's."""
        self._shut()
        self._begin()
        if self._spool is not None:
            self._spool = _Spool(self._spool.folder, self.app_id)


class _Spool:
    """Appends to a file of this process's own, as docs/spool.md of Homing says.

    Args:
        folder: Made if it is not there.
        app_id: Whose events.

    """

    def __init__(self, folder: str, app_id: str) -> None:
        self.folder = folder
        self._begins = hashlib.sha256(app_id.encode()).hexdigest()[:16] + "-"
        self._header = b'{"spool":1,"appId":%s}\n' % json.dumps(app_id).encode()
        self._dropped = self._told = 0
        self.renew()

    def renew(self) -> None:
        """Go on in a new file, for the agent has taken the old one."""
        self._path, self._torn = "", False

    @property
    def untold(self) -> int:
        """How many events were dropped of which no file tells yet."""
        return self._dropped - self._told

    def append(self, lines: list[bytes], *, last: bool) -> int:
        """Write lines, and return how many there was room for; the others are counted in the file.

        Not each time, but in doubling steps and at the ``last``, so that the counts stay small.

        Raises:
            OSError: None of them is safe: the disk is full, or the folder is not ours alone.

        """
        self._examine()
        room, kept = SPOOL_BYTES - self._size() - len(self._header), 0
        for kept, line in enumerate(lines):  # noqa: B007 - read below
            room -= len(line) + 1
            if room < 0:
                break
        else:
            kept = len(lines)
        body = b"".join([line + b"\n" for line in lines[:kept]])
        untold = self.untold + len(lines) - kept
        tell = bool(untold) and (last or untold >= self._told)
        if tell:
            body += b'{"dropped":%d}\n' % untold
        if body:
            for _ in range(8):
                if self._write(body):
                    break
            else:
                raise OSError("the agent takes each file before it is written")
        self._dropped += len(lines) - kept
        if tell:
            self._told = self._dropped
        return kept

    def _write(self, body: bytes) -> bool:
        """Write in one piece; return whether the name still led to the file after that."""
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        if self._path:
            try:
                fd = os.open(self._path, flags)
            except FileNotFoundError:
                self.renew()
        if not self._path:
            path = os.path.join(self.folder, f"{self._begins}{os.urandom(8).hex()}.ndjson")
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            self._path, body = path, self._header + body
        elif self._torn:
            body = b"\n" + body
        try:
            self._torn = True
            if os.write(fd, body) != len(body):
                raise OSError("the disk is full")
            self._torn = False
            mine = os.fstat(fd)
        finally:
            os.close(fd)
        try:
            named = os.lstat(self._path)
        except FileNotFoundError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino):
            self.renew()
            return False
        return True

    def _examine(self) -> None:
        """Make the folder, and refuse one that others may enter."""
        if not os.path.isdir(self.folder):
            missing, folder = [], self.folder
            while folder and not os.path.isdir(folder):
                missing.append(folder)
                folder = os.path.dirname(folder)
            for folder in reversed(missing):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o700)
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode) or _foreign(found) or _loose(found, 0o077):
            raise PermissionError(f"{self.folder} is not a folder of this user alone")

    def _size(self) -> int:
        total = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(self._begins):
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_size
        return total


# --- where the agent is, and whether it is ours ------------------------------------------------


def _foreign(found: os.stat_result) -> bool:
    return hasattr(os, "getuid") and found.st_uid != os.getuid()


def _loose(found: os.stat_result, bits: int) -> bool:
    return hasattr(os, "getuid") and bool(found.st_mode & bits)


def _places(env: Mapping[str, str]) -> tuple[str, str]:
    """Return the socket's path and the state folder, as the agent itself finds them."""
    runtime = env.get("XDG_RUNTIME_DIR") or ""
    try:
        found = os.lstat(runtime)
        private = stat.S_ISDIR(found.st_mode) and not _foreign(found) and not _loose(found, 0o077)
    except (OSError, ValueError):
        private = False
    shared = os.path.join(runtime, "homing") if private and os.path.isabs(runtime) else ""
    home = env.get("HOMING_HOME") or ""
    if home:
        home = os.path.abspath(os.path.expanduser(home))
        state, preferred = os.path.join(home, "state"), os.path.join(home, "run", "agent.sock")
    else:
        user = os.path.expanduser("~")
        if sys.platform == "win32":
            state = env.get("LOCALAPPDATA") or os.path.join(user, "AppData", "Local")
        elif sys.platform == "darwin":
            state = os.path.join(user, "Library", "Application Support")
        else:
            state = env.get("XDG_STATE_HOME") or os.path.join(user, ".local", "state")
        state = os.path.join(state, "homing")
        preferred = os.path.join(shared or state, "agent.sock")
    most = 103 if sys.platform == "darwin" else 107
    raw = os.fsencode(preferred)
    if shared and len(raw) > most:
        short = os.path.join(shared, hashlib.sha256(raw).hexdigest()[:16] + ".sock")
        preferred = short if len(os.fsencode(short)) <= most else preferred
    return preferred, state


def _dial(path: str, loopback_file: str) -> tuple[socket.socket, bytes]:
    """Connect to our user's agent; return the socket, and what is to be said first.

    Raises:
        OSError: Nobody is there, or somebody else.
        ValueError: The loopback file says nothing.

    """
    if not os.path.lexists(path) and os.path.lexists(loopback_file):
        fd = os.open(loopback_file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(fd, "rb") as stream:
            found = os.fstat(stream.fileno())
            if _foreign(found) or _loose(found, 0o077):
                raise PermissionError(f"{loopback_file} can be read by others")
            said = json.loads(stream.read(4096))
        sock = socket.create_connection(("127.0.0.1", int(said["port"])), 1.0)
        return sock, json.dumps({"token": said["token"]}).encode() + b"\n"
    for place, kind in ((os.path.dirname(path), stat.S_ISDIR), (path, stat.S_ISSOCK)):
        found = os.lstat(place)
        if not kind(found.st_mode) or _foreign(found) or _loose(found, 0o022 * (place != path)):
            raise PermissionError(f"{place} is not this user's own")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(1.0)
        sock.connect(path)
        if _peer_uid(sock) not in (None, os.getuid()):
            raise PermissionError(f"{path} is served by another user")
    except BaseException:
        sock.close()
        raise
    return sock, b""


def _peer_uid(sock: socket.socket) -> int | None:
    if hasattr(socket, "SO_PEERCRED"):
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", raw)[1])
    if sys.platform == "darwin":  # struct xucred: version, uid, …; LOCAL_PEERCRED at level 0
        return int(struct.unpack_from("Ii", sock.getsockopt(0, 1, 76))[1])
    return None


# --- the end of the program, and its children --------------------------------------------------


def _end(clients: list[Homing], patience: float) -> None:
    """Have the clients finish: acknowledged within ``patience`` seconds, or spooled."""
    now = time.monotonic()
    for client in clients:
        with client._lock:
            client._exit_at = now + patience
            client._rouse(at_once=True)
    for client in clients:
        thread = client._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, now + EXIT_S - time.monotonic()))
        with client._lock:
            if not client._runs():
                client._leave()


@atexit.register
def _at_exit() -> None:
    with contextlib.suppress(Exception):
        clients = list(_clients)
        for client in clients:
            client._exiting = True
        _end(clients, EXIT_S / 2)


def _at_the_end_of_a_worker() -> None:
    """In a process of multiprocessing ``atexit`` is not called; it has a list of its own."""
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _at_exit, exitpriority=10)


def _after_fork() -> None:
    for client in list(_clients):
        with contextlib.suppress(Exception):
            client._born()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
