"""What can be found out about an agent that does not run: settings, folders, socket, keyring.

Only looks: nothing is made, moved or unlocked.
"""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Iterator, Mapping

from agent.adapters.machine.lock import is_held, read_holder
from agent.adapters.machine.places import Places
from agent.adapters.machine.private_files import is_private_folder
from agent.adapters.machine.system_keyring import NoKeyring, system_keyring
from agent.door import Check
from agent.settings import load
from tracking.errors import Fault


def local_checks(env: Mapping[str, str]) -> tuple[Check, ...]:
    """Return the findings."""
    places = Places.find(env)
    return (
        _settings(places, env),
        *_folders(places),
        _socket(places),
        _lock(places),
        _keyring(),
        _window(),
    )


def _settings(places: Places, env: Mapping[str, str]) -> Check:
    file = places.settings_file
    try:
        settings = load(file, env)
    except Fault as fault:
        return Check(
            code="settings",
            title="Settings",
            verdict="error",
            evidence="; ".join(str(fault).splitlines()),
            repair=fault.advice or f"Edit {file}, then `homing config check`.",
        )
    there = str(file) if file.exists() else f"{file} does not exist, so the defaults apply"
    apps = f"{len(settings.apps)} app{'' if len(settings.apps) == 1 else 's'} declared"
    return Check(code="settings", title="Settings", verdict="ok", evidence=f"{there}; {apps}")


def _folders(places: Places) -> Iterator[Check]:
    if places.note:
        yield Check(code="folders.runtime", title="Folder", verdict="warning", evidence=places.note)
    for folder in dict.fromkeys((places.config, places.data, places.state, places.runtime)):
        if not os.path.lexists(folder):
            continue  # the first start makes it
        why = is_private_folder(folder)
        yield Check(
            code="folders",
            title="Folder",
            verdict="warning" if why else "ok",
            evidence=f"{folder}: {why}" if why else f"{folder} is ours alone",
            repair=f"chmod 700 {folder}" if why else "",
        )


def _socket(places: Places) -> Check:
    path = places.socket
    try:
        places.check_socket()
        found = path.lstat()
    except FileNotFoundError:
        return Check(code="socket", title="Socket", verdict="ok", evidence=f"{path} is free")
    except (Fault, OSError) as fault:
        advice = fault.advice if isinstance(fault, Fault) else ""
        return Check(
            code="socket", title="Socket", verdict="error", evidence=str(fault), repair=advice
        )
    if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid():
        return Check(
            code="socket.stale",
            title="Socket",
            verdict="warning",
            evidence=f"{path} was left by an agent that no longer answers",
            repair="The next start of the agent removes it.",
        )
    return Check(
        code="socket.foreign",
        title="Socket",
        verdict="error",
        evidence=f"{path} is not a socket of ours",
        repair="Look at it, and move it away.",
    )


def _lock(places: Places) -> Check:
    holder = read_holder(places.lock)
    if holder is None:
        return Check(code="lock", title="Lock", verdict="ok", evidence="nobody holds it")
    if not is_held(places.lock):  # its number may be another process's by now
        evidence = f"process {holder.pid} held it and has died"
        return Check(code="lock", title="Lock", verdict="ok", evidence=evidence)
    return Check(
        code="lock.held",
        title="Lock",
        verdict="error",
        evidence=f"process {holder.pid} holds it, but does not answer at {holder.address}",
        repair=f"If it hangs, end it: kill {holder.pid}",
    )


def _keyring() -> Check:
    try:
        ring = system_keyring()
    except NoKeyring as why:
        return Check(
            code="keyring",
            title="Keyring",
            verdict="warning",
            evidence=str(why),
            repair="Without one the device key lies in a file that only you can read.",
        )
    name = type(ring).__module__.rpartition(".")[2]
    return Check(code="keyring", title="Keyring", verdict="ok", evidence=name)


def _window() -> Check:
    if importlib.util.find_spec("PySide6") is None:
        return Check(
            code="window",
            title="Window",
            verdict="warning",
            evidence="Qt is not installed, so there is the terminal view only",
            repair="pip install homing[tray]",
        )
    return Check(code="window", title="Window", verdict="ok", evidence="Qt is installed")
