"""`homing wipe`: nothing of the agent stays on this machine, and the list says what went.

The lock is taken first, so that no agent can start while its files go. What could not be
removed is named, and the exit code says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.adapters.machine.lock import Lock
from agent.adapters.machine.places import Places
from agent.adapters.machine.secrets import Secrets
from agent.adapters.roads.proxy_keys import ProxyKeys
from agent.cli.outbox import confirmed
from agent.cli.shell import DEGRADED, OK, Shell
from agent.door.your_data import DeleteData, ReadDeletions, ReadReceipts
from agent.rules.wording import events, visible
from agent.settings import Settings, load
from tracking.errors import AgentGone, AgentRunning, Fault, SettingsFault

if TYPE_CHECKING:
    from agent.cli.parser import Parser

KEPT_HERE = "collector"  #: Below the data folder: the store of the far end on this computer.
ANSWERING_S = 30.0  #: How long far ends may take to delete.
STOPPING_S = 10.0  #: How long a running agent may take to end.


class Wiped(msgspec.Struct, kw_only=True):
    """What went, and what could not."""

    removed: list[str] = []
    kept: list[str] = []
    receipts: list[str] = []  #: Of far ends that deleted, as they signed them.


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `wipe`."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--remote", action="store_true", help="first have the far ends delete what they hold"
    )
    parser.json_option()
    parser.set_defaults(run=wipe)


def wipe(args: argparse.Namespace, shell: Shell) -> int:
    """Stop the agent and remove everything; degraded if something had to stay."""
    places = Places.find(shell.env)
    folders = _folders(places)
    _refuse_the_unthinkable(folders)
    waiting = _waiting(shell)
    if not args.yes:
        for folder in folders:
            if os.path.lexists(folder):
                shell.err.write(f"  {folder}\n")
        if (places.data / KEPT_HERE).is_dir():
            shell.err.write("  with all that the far end on this computer has stored\n")
        lost = f" {events(waiting)} not delivered yet will be lost." if waiting else ""
        if not confirmed(shell, f"Delete these folders and the keyring's entries?{lost} [y/N] "):
            shell.complain("nothing was deleted")
            return DEGRADED
    told = Wiped()
    if args.remote and not _deleted_far_away(shell, told):
        shell.complain(
            "nothing was deleted here, because the far end must be asked again",
            "See `homing data requests`; `homing wipe` without --remote deletes here only.",
        )
        return DEGRADED
    _stop(shell)
    if places.state.exists():
        with _lock(places):
            _wipe(places, folders, shell, told)
    else:
        _wipe(places, folders, shell, told)
    if args.json:
        shell.json(told)
    else:
        for what in told.removed:
            shell.say(f"removed {visible(what, 1000)}")
        if not told.removed:
            shell.say("There was nothing to remove.")
        for receipt in told.receipts:
            shell.say(f"receipt {visible(receipt, 100_000)}")
        for what in told.kept:
            shell.complain(f"could not remove {visible(what, 1000)}")
    return DEGRADED if told.kept else OK


def _deleted_far_away(shell: Shell, told: Wiped) -> bool:
    """Have the far ends delete, while there is an agent that keeps asking; whether they have.

    Raises:
        AgentGone: There is none.

    """
    door = shell.door()
    asked = door.ask(DeleteData(remote=True, local=False))
    for far_end in asked.not_asked:
        name = visible(far_end.upstream or "the far end", 60)
        shell.complain(f"{name} was not asked to delete: {visible(far_end.why_not)}")
    wanted = {one.id for one in asked.requests}
    until, open_ = time.monotonic() + ANSWERING_S, wanted
    while open_:
        requests = [one for one in door.ask(ReadDeletions()).requests if one.id in wanted]
        open_ = {one.id for one in requests if one.state != "done"}
        parked = [one for one in requests if one.state == "parked"]
        if parked or (open_ and time.monotonic() >= until):
            late = (parked or [one for one in requests if one.id in open_])[0]
            reason = f": {visible(late.reason, 500)}" if late.reason else ""
            shell.complain(f"{visible(late.origin)} has not deleted{reason}")
            return False
        if open_:
            time.sleep(0.1)
    for one in sorted(wanted):
        told.receipts += door.ask(ReadReceipts(id=one)).receipts
        told.removed.append(f"what a far end held: request {one}")
    return True


def _wipe(places: Places, folders: list[Path], shell: Shell, told: Wiped) -> None:
    """Remove secrets first: the settings say which there are."""
    try:
        settings = load(places.settings_file, shell.env)
    except Fault:
        told.kept.append("tokens in the keyring: the settings file that names them is unreadable")
        settings = Settings()
    _forget(places, settings, shell, told)
    if places.socket.is_socket():
        _remove_file(places.socket, told)
    for folder in folders:
        if not os.path.lexists(folder):
            continue
        try:
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)
        except OSError as exc:
            told.kept.append(f"{folder}: {exc.strerror}")
        else:
            told.removed.append(str(folder))
    if places.home is not None and places.home.is_dir() and not any(places.home.iterdir()):
        places.home.rmdir()
        told.removed.append(str(places.home))


def _forget(places: Places, settings: Settings, shell: Shell, told: Wiped) -> None:
    named = settings.identity.key_file
    secrets = Secrets(
        key_file=Path(named) if named else places.device_key,
        service=places.keyring_service,
        env=shell.env,
    )
    try:
        told.removed.extend(f"device key: {where}" for where in secrets.forget_device_key())
        for app in settings.apps:
            for origin in {upstream.data_api for upstream in app.upstreams} - {""}:
                if secrets.forget_token(origin, app.id):
                    told.removed.append(f"token of {app.id} for {origin}: keyring")
            for far_end in {way.endpoint for way in app.ways if way.language == "bucket"}:
                if secrets.forget_token(far_end, app.id, what="bucket"):
                    told.removed.append(f"Bucket key of {app.id} for {far_end}: keyring")
        logins = ProxyKeys(service=places.keyring_service, env=shell.env).forget_all()
        told.removed.extend(f"login for the proxy {place}: keyring" for place in sorted(logins))
    except (Fault, OSError) as fault:
        told.kept.append(f"entries of the keyring: {fault}")


def _remove_file(path: Path, told: Wiped) -> None:
    try:
        path.unlink()
    except OSError as exc:
        told.kept.append(f"{path}: {exc.strerror}")
    else:
        told.removed.append(str(path))


def _folders(places: Places) -> list[Path]:
    named = (places.data, places.state, places.logs, places.runtime, places.config)
    return list(dict.fromkeys(named))


def _refuse_the_unthinkable(folders: list[Path]) -> None:
    """Refuse to delete a home folder or the root because HOMING_HOME says something odd."""
    home = Path.home().resolve()
    for folder in folders:
        where = folder.resolve()
        if where in (home, *home.parents) or where.parent == home:
            raise SettingsFault(
                f"{folder} may hold more than the agent's own files, so nothing was deleted",
                advice="Set HOMING_HOME to the agent's own folder, or delete by hand.",
            )


def _waiting(shell: Shell) -> int:
    try:
        return shell.door().status().depth.events
    except Fault:
        return 0


def _lock(places: Places) -> Lock:
    """Take the lock; an agent that was just stopped may need a moment to let go of it."""
    until = time.monotonic() + STOPPING_S
    while True:
        try:
            return Lock.take(places.lock, now_ms=time.time_ns() // 1_000_000)
        except AgentRunning:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)


def _stop(shell: Shell) -> None:
    """Stop a running agent and wait until it no longer answers."""
    try:
        shell.door().stop()
        until = time.monotonic() + STOPPING_S
        while time.monotonic() < until:
            shell.door().status()
            time.sleep(0.05)
    except AgentGone:
        return
    raise Fault("the agent was asked to stop and still answers", advice="Nothing was deleted.")
