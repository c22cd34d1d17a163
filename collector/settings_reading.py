"""From the file, the environment and the command line to one :class:`collector.settings.Settings`.

Defaults < ``collector.toml`` in the data folder (or ``--config FILE``) < ``HOMING_COLLECTOR_*`` <
flags. Every mistake is found before any is reported. A value is taken as it is or refused; only
where everything is text, in variables and flags, is text read as a number.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from collector.settings import PREFIX, Loaded, Settings, Spec, specs
from tracking.errors import SettingsFault

CONFIG_VARIABLE = "HOMING_COLLECTOR_CONFIG"  #: Names the file, as ``--config`` does.
FILE_NAME = "collector.toml"
MOST_FILE_BYTES = 1024 * 1024


def load(
    folder: Path,
    env: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
    *,
    file: Path | None = None,
) -> Loaded:
    """Merge the sources, later ones winning setting by setting.

    Args:
        folder: The data folder; its ``collector.toml`` need not exist.
        env: The environment; only ``HOMING_COLLECTOR_*`` concerns us.
        flags: Settings from the command line; text is read as in variables.
        file: Another file; that one must exist.

    Raises:
        SettingsFault: Something is unknown, of the wrong type or out of bounds. Everything that
            is wrong is named, one line each.

    """
    if file is None and env.get(CONFIG_VARIABLE):
        file = Path(env[CONFIG_VARIABLE]).expanduser()
    path = file or folder / FILE_NAME
    known = {spec.key: spec for spec in specs()}
    variables = {spec.variable: spec.key for spec in known.values()}
    values: dict[str, Any] = {}
    origins = dict.fromkeys(known, "default")
    wrong: list[str] = []

    def take(key: str, value: object, where: str, origin: str, *, from_text: bool) -> None:
        try:
            values[key] = read_value(known[key], value, from_text=from_text)
            origins[key] = origin
        except ValueError as exc:
            wrong.append(f"{where}: {exc}")

    for key, value in _read(path, needed=file is not None).items():
        if key in known:
            take(key, value, f"{path}: {key}", str(path), from_text=False)
        else:
            wrong.append(f"{path}: no setting is named {_clip(key)}{_nearest(key, known)}")
    for name, said in env.items():
        if name in variables:
            take(variables[name], said, name, name, from_text=True)
        elif name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            near = _nearest(name, (*variables, CONFIG_VARIABLE))
            wrong.append(f"environment: no setting is named {_clip(name)}{near}")
    for key, value in (flags or {}).items():
        take(key, value, f"command line: {known[key].flag}", "command line", from_text=True)
    if wrong:
        raise SettingsFault(
            "\n".join(wrong),
            advice="Correct this, or see `homing collector config` for what may be set.",
        )
    return Loaded(Settings(**values), MappingProxyType(origins))


def read_value(spec: Spec, value: object, *, from_text: bool) -> object:
    """Return ``value`` as the setting's type.

    Args:
        spec: The setting.
        value: What a source says.
        from_text: The source knows only text, so text is read as a number or a list.

    Raises:
        ValueError: It is none; the sentence says what it must be.

    """
    kind = type(spec.default)
    if from_text and isinstance(value, str):
        if kind is tuple:
            value = [part for raw in value.split(",") if (part := raw.strip())]
        elif kind is not str:
            value = _number(value)
    if kind is tuple:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"must be a list of {spec.bounds}, got {_shown(value)}")
        return tuple(_checked(spec, one) for one in value)
    if kind is float and type(value) is int:
        value = float(value)  # 60 seconds are 60.0 seconds
    if type(value) is not kind:
        raise ValueError(f"must be {spec.bounds}, got {_shown(value)}")
    if isinstance(value, str):
        return _checked(spec, value)
    assert isinstance(value, (int, float))
    if not spec.meta["low"] <= value <= spec.meta["high"]:  # nor is "not a number" in any bounds
        raise ValueError(f"must be {spec.bounds}, got {_shown(value)}")
    return value


def _checked(spec: Spec, value: str) -> str:
    words = spec.meta.get("words")
    if words and value not in words:
        raise ValueError(f"must be one of {spec.bounds}{_nearest(value, words)}")
    if not value.isprintable():
        raise ValueError("must be one line of printable text")
    try:
        spec.meta.get("check", str)(value)
    except ValueError as exc:
        raise ValueError(f"must be {spec.bounds}, got {_clip(value)}") from exc
    return value


def _read(path: Path, *, needed: bool) -> dict[str, Any]:
    """Return what the file says; nothing if it need not exist and does not."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if needed:
            raise SettingsFault(f"{path} does not exist") from None
        return {}
    except OSError as exc:
        raise SettingsFault(f"{path}: {os.strerror(exc.errno or 0).lower()}") from exc
    with open(fd, "rb") as opened:  # noqa: PTH123 - a descriptor, looked at before it is read
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise SettingsFault(f"{path} is not a file")
        if found.st_mode & stat.S_IWOTH or found.st_uid not in {os.getuid(), 0}:
            raise SettingsFault(
                f"{path} can be changed by others",
                advice=f"Look at it, then run: chown $USER {path}; chmod o-w {path}",
            )
        raw = opened.read(MOST_FILE_BYTES + 1)
    if len(raw) > MOST_FILE_BYTES:
        raise SettingsFault(f"{path} is larger than a settings file is")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise SettingsFault(f"{path}: {exc}", advice="It must be TOML; see toml.io.") from exc


def _number(said: str) -> object:
    if re.fullmatch(r"[+-]?[0-9]{1,18}", said):
        return int(said)
    if re.fullmatch(r"[+-]?[0-9]{1,18}\.[0-9]{1,18}", said):
        return float(said)
    return said


def _nearest(said: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(said, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""


def _shown(value: object) -> str:
    """Show a value as a file would write it, clipped."""
    said = str(value).lower() if isinstance(value, bool) else repr(value)
    return said if len(said) <= 60 else said[:60] + "…"


def _clip(said: str) -> str:
    return repr(said if len(said) <= 60 else said[:60] + "…")
