"""The far end on this computer: an embedded collector, started and supervised by the agent.

Own process, loopback only, its own folder, its own app and token, made at the first start and
kept in a 0600 file. It dies with the agent: its standard input is a pipe that only we hold.

    STOPPED ──start──► STARTING ──ready line──► RUNNING
                          ▲                        │ exits
                          └──── 1 s … 30 s ────────┘   (five quick deaths in a row: FAILED, said)
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent.adapters.machine.private_files import read_private, write_private
from tracking.errors import Fault, SecretFault

log = logging.getLogger("agent.keeper")

APP_ID = "this-computer"
APP_NAME = "This computer"
QUICK_DEATH_S = 10.0
MOST_QUICK_DEATHS = 5
COMMAND_S = 30.0
SCOPES = ("stats:read", "users:read", "users:delete")  #: Of the tokens for its apps.


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the first start made: the app, its token, the port it got then."""

    app_id: str
    token: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class KeeperNews:
    """What the keeper tells the core."""

    state: Literal["starting", "running", "failed", "off"]
    port: int = 0
    kept: Kept | None = None
    reason: str = ""


class Keeper:
    """Supervises one collector process from a thread of its own.

    Args:
        folder: The collector's data folder.
        record: File that keeps the app, token and port (0600).
        apps: Further apps to make known there: id and name.
        post: Hears :class:`KeeperNews`, from the keeper's thread.
        died: Hears, from that thread, that it ended by a mistake of ours.
        log_file: Takes what the collector says on its standard error, anew at each start.
        port: The port to ask for at the first start; 0 for any.
        command: How to run a collector; tests may name another.

    """

    def __init__(
        self,
        folder: Path,
        record: Path,
        apps: Sequence[tuple[str, str]],
        post: Callable[[KeeperNews], None],
        *,
        died: Callable[[BaseException], None],
        log_file: Path,
        port: int = 0,
        command: Sequence[str] = (sys.executable, "-m", "homing", "collector"),
    ) -> None:
        self.folder = folder
        self.record = record
        self.apps = tuple(apps)
        self.post = post
        self.died = died
        self.log_file = log_file
        self.port = port
        self.command = tuple(command)
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take_in(self, app_id: str, name: str) -> None:
        """Make another app known there, now and with every start; may take seconds.

        Raises:
            Fault: The collector will not have it.
            OSError, SubprocessError: Its command could not be run.

        """
        if (app_id, name) not in self.apps:
            self.apps = (*self.apps, (app_id, name))
        self._ask("app", "add", name, "--id", app_id, "--if-missing")

    def token_for(self, app_id: str) -> str:
        """Return a token that may read and delete what the collector holds of an app.

        Made once and kept in a 0600 file beside the record; may take seconds.

        Raises:
            SecretFault: The collector gives none, or the file cannot be used.

        """
        file = self.record.with_name(f"{self.record.stem}-tokens.json")
        try:
            raw = read_private(file)
            known = msgspec.json.decode(raw or b"{}", type=dict[str, str])
            if app_id not in known:
                scopes = [word for scope in SCOPES for word in ("--scope", scope)]
                known[app_id] = str(self._ask("token", "add", app_id, *scopes)["token"])
                write_private(file, msgspec.json.encode(known))
        except (Fault, OSError, subprocess.SubprocessError, msgspec.MsgspecError, KeyError) as exc:
            raise SecretFault(f"the far end on this computer gives no token: {exc}") from exc
        return known[app_id]

    def stop(self, patience_s: float = 4.0) -> None:
        """Stop the collector: closing its input asks it to drain; then terminate, then kill."""
        self._stop.set()
        process = self._process
        if process is not None:
            _end(process, patience_s)
        self._thread.join(patience_s)

    def _run(self) -> None:
        try:
            self._keep()
        except Exception as exc:  # a mistake of ours; a thread must not be missed in silence
            self.died(exc)

    def _keep(self) -> None:
        deaths = 0
        while not self._stop.is_set():
            began = time.monotonic()
            self.post(KeeperNews("starting"))
            try:
                reason = self._one_life()
            except Fault as fault:
                reason = str(fault)
            except (OSError, subprocess.SubprocessError) as exc:
                reason = f"the collector could not be started ({exc})"
            if self._stop.is_set():
                break
            deaths = deaths + 1 if time.monotonic() - began < QUICK_DEATH_S else 0
            if deaths >= MOST_QUICK_DEATHS:
                self.post(KeeperNews("failed", reason=reason))
            log.warning("the embedded collector ended, starting it again reason=%r", reason)
            self._stop.wait(min(30.0, 2.0 ** min(deaths, MOST_QUICK_DEATHS)))
        self.post(KeeperNews("off"))

    def _one_life(self) -> str:
        """Run the collector until it ends; return why it did."""
        kept = self._first_time()
        for app_id, name in self.apps:
            self._ask("app", "add", name, "--id", app_id, "--if-missing")
        if self._stop.is_set():
            return "it was not wanted any more"
        port = kept.port or self.port
        process = self._spawn(port)
        try:
            ready = self._ready(process)
            if ready is None and port and not self._stop.is_set():
                _end(process, 1.0)
                process = self._spawn(0)  # somebody else has our port by now
                ready = self._ready(process)
            if ready is None:
                return f"it did not come up (exit {process.wait(5)})"
            kept = msgspec.structs.replace(kept, port=ready)
            write_private(self.record, msgspec.json.encode(kept))
            self.post(KeeperNews("running", port=ready, kept=kept))
            log.info("the embedded collector runs port=%d", ready)
            return f"it ended with exit code {process.wait()}"
        finally:
            _end(process, 4.0)
            self._process = None

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        words = [
            *self.command,
            "serve",
            *("--host", "127.0.0.1"),
            *("--port", str(port)),
            *("--data-dir", str(self.folder)),
            "--json",
            "--stdin-eof",
        ]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.log_file, flags, 0o600), "wb") as errors:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(),
            )
        self._process = process
        return process

    def _ready(self, process: subprocess.Popen[bytes]) -> int | None:
        """Return the port of the ready line, or None if the process ended without one."""
        if process.stdout is None:
            return None
        for line in process.stdout:
            try:
                said: Any = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and said.get("ready") is True:
                return int(said["port"])
        return None

    def _first_time(self) -> Kept:
        """Return what the first start made, making it if this is the first."""
        kept = read_kept(self.record)
        if kept is not None:
            return kept
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ask("app", "add", APP_NAME, "--id", APP_ID, "--if-missing")
        token = str(
            self._ask("token", "add", APP_ID, "--scope", "stats:read", "--scope", "users:read")[
                "token"
            ]
        )
        kept = Kept(app_id=APP_ID, token=token)
        write_private(self.record, msgspec.json.encode(kept))
        return kept

    def _ask(self, *words: str) -> dict[str, Any]:
        """Run one admin command; return the JSON it prints."""
        done = subprocess.run(
            [*self.command, *words, "--data-dir", str(self.folder)],
            capture_output=True,
            timeout=COMMAND_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Fault(said[-1] if said else f"`collector {words[0]}` exited {done.returncode}")
        try:
            answer: Any = json.loads(done.stdout)
        except ValueError as exc:
            raise Fault(f"`collector {words[0]}` did not print JSON") from exc
        return answer if isinstance(answer, dict) else {}


def read_kept(record: Path) -> Kept | None:
    """Return what an earlier start made, or None."""
    try:
        return msgspec.json.decode(record.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None


def _environment() -> dict[str, str]:
    """Return our environment without what was meant for us alone (sd_notify(3))."""
    ours = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """End a child for certain, politely first."""
    if process.stdin is not None and not process.stdin.closed:
        try:
            process.stdin.close()
        except OSError:
            pass
    for sign, wait_s in ((None, patience_s), (process.terminate, 1.0), (process.kill, 1.0)):
        if sign is not None:
            sign()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
        break
    if process.stdout is not None:
        process.stdout.close()
