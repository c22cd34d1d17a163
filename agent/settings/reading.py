"""From the file, the environment and the command line to one :class:`Settings`.

Every mistake is found before any is reported, each with the place it stands at. A value is taken
as it is or refused: ``true`` is not 1, ``"60"`` in the file is not 60. Only where everything is
text, in variables and flags, is text read as a number.

A value that might be a secret in the wrong place is never repeated in a sentence.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agent.settings.apps_reading import read_apps
from agent.settings.declared import TABLES, Settings, Spec, specs
from agent.settings.mistakes import Mistakes, absolute, clip, nearest, shown
from agent.settings.redaction import RULES, read_rules
from tracking.errors import SettingsFault

PREFIX = "HOMING_"
NOT_SETTINGS = frozenset({"HOMING_HOME", "HOMING_APP"})  #: A place, and the app of `homing send`.
COLLECTOR = (
    "HOMING_COLLECTOR_",
    "HOMING_CLICKHOUSE_",
)  #: The far end's variables.
MOST_FILE_BYTES = 1024 * 1024


def load(path: Path, env: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Settings:
    """Merge the sources, later ones winning key by key.

    Args:
        path: ``homing.toml``; need not exist.
        env: ``HOMING_OUTBOX_MAX_EVENTS`` and the like.
        flags: Dotted keys from the command line; text is read as in variables.

    Raises:
        SettingsFault: Something is unknown, of the wrong type or out of bounds. Everything that
            is wrong is named, one line each.

    """
    return _merge(read_file(path), path, env, flags or {})


def check_text(text: str, path: Path) -> Settings:
    """Return the settings that ``text`` would be as ``path``; raises as :func:`load`."""
    return _merge(_parse(text, path), path, {}, {})


def read_file(path: Path, *, uid: int | None = None) -> dict[str, Any]:
    """Return what the settings file says; nothing if it does not exist.

    Args:
        path: ``homing.toml``.
        uid: Who we are; the file is ours or root's.

    Raises:
        SettingsFault: It is no file, no TOML, far too large, or others can change it.

    """
    uid = os.getuid() if uid is None else uid
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise SettingsFault(f"{path}: {os.strerror(exc.errno or 0).lower()}") from exc
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise SettingsFault(f"{path} is not a file")
        if found.st_mode & stat.S_IWOTH or found.st_uid not in {uid, 0}:
            # who writes this file decides where events go
            raise SettingsFault(
                f"{path} can be changed by others",
                advice=f"Look at it, then run: chown $USER {path}; chmod o-w {path}",
            )
        if found.st_size > MOST_FILE_BYTES:
            raise SettingsFault(f"{path} is {found.st_size} bytes, a settings file is smaller")
        raw = os.read(fd, MOST_FILE_BYTES)
    finally:
        os.close(fd)
    try:
        return _parse(raw.decode("utf-8"), path)
    except UnicodeDecodeError as exc:
        raise SettingsFault(f"{path} is not UTF-8 at byte {exc.start}") from exc


def read_value(spec: Spec, value: object, *, from_text: bool) -> float | str:
    """Return ``value`` as the setting's type, or raise ValueError with what it must be.

    Args:
        spec: The setting.
        value: What a source says.
        from_text: The source knows only text, so text is read as a number.

    """
    kind = type(spec.default)
    if from_text and isinstance(value, str) and kind is not str:
        value = _number(value)
    if kind is float and type(value) is int:
        value = float(value)  # 60 seconds are 60.0 seconds
    if not isinstance(value, (int, float, str)) or type(value) is not kind:
        raise ValueError(f"must be {spec.bounds}, got {shown(value)}")
    if isinstance(value, str):
        words = spec.meta.get("words")
        if not value.isprintable():
            raise ValueError("must be one line of printable text")
        if words and value not in words:
            raise ValueError(f"must be one of {spec.bounds}{nearest(value, words)}")
        if spec.meta.get("path") and value:
            value = absolute(value)
            if value is None:
                raise ValueError(f"must be {spec.bounds}")  # not shown: it may be the key itself
        if rule := spec.meta.get("rule"):
            try:
                value = str(rule(value))
            except SettingsFault as fault:
                raise ValueError(str(fault)) from fault
    else:
        low, high = spec.meta["low"], spec.meta["high"]
        if not low <= value <= high:  # nor is "not a number" within any bounds
            raise ValueError(f"must be {spec.bounds}, got {shown(value)}")
    return value


def _merge(
    written: Mapping[str, Any], path: Path, env: Mapping[str, str], flags: Mapping[str, object]
) -> Settings:
    wrong = Mistakes()
    known = {spec.key: spec for spec in specs()}
    variables = {spec.variable: spec for spec in known.values()}
    values: dict[str, object] = {}
    origins: dict[str, str] = {}

    def take(spec: Spec, value: object, where: str, origin: str, *, from_text: bool) -> None:
        try:
            values[spec.key] = read_value(spec, value, from_text=from_text)
            origins[spec.key] = origin
        except ValueError as exc:
            wrong.add(where, str(exc))

    for table, entries in written.items():
        if table == "apps":
            continue
        if table not in TABLES:
            wrong.add(str(path), f"nothing is named {clip(table)}{_hint(table, known)}")
        elif not isinstance(entries, dict):
            wrong.add(f"{path}: {table}", f"must be a table, [{table}], got {shown(entries)}")
        else:
            for name, value in entries.items():
                key = f"{table}.{name}"
                if key == RULES:
                    origins[RULES] = str(path)
                elif key in known:
                    take(known[key], value, f"{path}: {key}", str(path), from_text=False)
                else:
                    wrong.add(str(path), f"no setting is named {clip(key)}{_hint(key, known)}")
    apps = read_apps(written.get("apps", []), path, wrong)
    rules = read_rules(written.get("redaction"), path, wrong)
    if "apps" in written:
        origins["apps"] = str(path)

    for variable, text in env.items():
        if variable in variables:
            take(variables[variable], text, variable, variable, from_text=True)
        elif variable.startswith(COLLECTOR):
            continue
        elif variable.startswith(PREFIX) and variable not in NOT_SETTINGS:
            wrong.add(
                "environment",
                f"no setting is named {clip(variable)}"
                f"{nearest(variable, (*variables, *NOT_SETTINGS))}",
            )
    for key, value in flags.items():
        if key in known:
            take(known[key], value, f"command line: {key}", "command line", from_text=True)
        else:
            wrong.add("command line", f"no setting is named {clip(key)}{_hint(key, known)}")

    wrong.raise_any()
    tables = {
        table: cls(
            **{k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{table}.")}
        )
        for table, cls in TABLES.items()
    }
    return Settings(**tables, apps=apps, rules=rules, origins=MappingProxyType(origins), file=path)


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SettingsFault(f"{path}: {exc}", advice="It must be TOML; see toml.io.") from exc


def _number(text: str) -> object:
    """Read a number as a person writes it; anything else stays text."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?[0-9]{1,18}\.[0-9]{1,18}", text):
        return float(text)
    return text


def _hint(key: str, known: Iterable[str]) -> str:
    """As :func:`nearest`, for dotted keys; a name under the wrong table is found as well."""
    names = tuple(known)
    last = key.rpartition(".")[2]
    same = [name for name in names if name.partition(".")[2] == last]
    if len(same) == 1:
        return f", did you mean {same[0]}?"
    return nearest(key, (*TABLES, "apps", *names))
