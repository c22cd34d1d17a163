"""The settings file as a person meets it: commented at the first start, edited with care later.

A change made for a person keeps the person's comments and order, is checked as a whole before
anything is written, and replaces the file in one step.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import textwrap
from pathlib import Path

from agent.settings.declared import TABLES, Settings, Spec, specs
from agent.settings.mistakes import nearest
from agent.settings.reading import check_text, read_file, read_value
from agent.settings.upstreams import NUCLEUS
from tracking.errors import SettingsFault, StorageFault

HEAD = """\
# Settings of Homing. Every line that is commented out shows the default.
# After a change run `homing config check`; the agent reads this file when it starts.
# Variables win over this file: outbox.max_events is HOMING_OUTBOX_MAX_EVENTS.
"""

APPS = f"""\
# Local programs that may report, and where their events go. Without any, what you send by hand
# stays on this computer.
#
# [[apps]]
# id = "acme-notes"         # the app's id at the far end
# name = "Acme Notes"
# version = "1.0.0"         # told in the init events that the agent writes for it
#   [[apps.upstreams]]
#   kind = "nucleus"        # or "homing" (a collector of your own), "bucket", "bucket-bulk"
#   name = "nucleus"        # what to call it, where there are several: all of them get everything
#   endpoint = "{NUCLEUS}"
#   data_api = "https://app.nucleus.sh"    # for live users and the quick glance
#   token_file = "/path/to/token"          # if the token is not in the keyring
"""


def default_text() -> str:
    """Return the file of the first start: every setting, commented out, with its sentence."""
    parts = [HEAD]
    table = ""
    for spec in specs():
        head, name = spec.key.split(".")
        if head != table:
            table = head
            about = (TABLES[head].__doc__ or "").partition("\n")[0]
            parts.append(f"\n[{head}]  # {about}\n")
        sentence = f"{spec.doc} ({spec.bounds})"
        parts.extend(f"# {line}\n" for line in textwrap.wrap(sentence, 94))
        parts.append(f"# {name} = {json.dumps(spec.default)}\n")
    return "".join(parts) + "\n" + APPS


def write_default(path: Path) -> bool:
    """Write the commented file if there is none; tell whether it was written.

    Raises:
        StorageFault: It cannot be written.

    """
    if os.path.lexists(path):
        return False
    replace(path, default_text())
    return True


def set_value(path: Path, key: str, text: str) -> Settings:
    """Set one setting in the file, keeping everything else as a person wrote it.

    Args:
        path: ``homing.toml``; made from the commented file if it does not exist.
        key: Dotted: ``outbox.max_events``.
        text: The value as typed: ``500000``, ``yes``, a path.

    Returns:
        The settings as the file alone now says them.

    Raises:
        SettingsFault: No such setting, an impossible value, or a file that was wrong before.
            Nothing was written.
        StorageFault: The file cannot be written.

    """
    spec = _spec(key)
    try:
        value = read_value(spec, text, from_text=True)
    except ValueError as exc:
        raise SettingsFault(f"{key} {exc}") from exc
    read_file(path)  # refuses what others can change, what is no TOML, what is far too large
    before = path.read_text("utf-8") if path.exists() else default_text()
    after = _edited(before, spec, value)
    settings = check_text(after, path)
    replace(path, after)
    return settings


def _edited(before: str, spec: Spec, value: float | str) -> str:
    """Return the file's text with one value changed or added."""
    import tomlkit  # 30 ms that only this needs

    table, name = spec.key.split(".")
    document = tomlkit.parse(before)
    if name not in document.get(table, {}):
        commented = rf"^\[{table}\][^\n]*\n(?:(?!\[)[^\n]*\n)*?# {name} = [^\n]*\n"
        if place := re.search(commented, before, re.MULTILINE):  # beneath the line that explains it
            line = f"{name} = {tomlkit.item(value).as_string()}\n"
            return before[: place.end()] + line + before[place.end() :]
    if table not in document:
        document[table] = tomlkit.table()
    document[table][name] = value  # type: ignore[index]
    return tomlkit.dumps(document)


def _spec(key: str) -> Spec:
    known = {spec.key: spec for spec in specs()}
    if key not in known:
        raise SettingsFault(
            f"no setting is named {key!r}{nearest(key, known)}",
            advice="Apps are edited in the file itself." if key.startswith("apps") else "",
        )
    return known[key]


def replace(path: Path, text: str) -> None:
    """Write beside, then rename; a link to the file (dotfiles kept elsewhere) stays a link."""
    target = path.resolve()
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o600
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise StorageFault(
            f"{path}: {os.strerror(exc.errno or 0).lower()}",
            advice="Check the disk and the permissions of its folder.",
        ) from exc
