"""From the file, the environment and the command line to one :class:`Settings`.

Every mistake is found before any is reported, each with the place it stands at. A value is taken
as it is or refused: ``true`` is not 1, ``"60"`` in the file is not 60. Only where everything is
text, in variables and flags, is text read as a number.

A value that might be a secret in the wrong place is never repeated in a sentence.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agent.rules.endpoints import check_endpoint, check_origin
from agent.settings.declared import NUCLEUS, TABLES, App, Settings, Spec, Upstream, specs
from tracking.errors import SettingsFault

PREFIX = "HOMING_"
NOT_SETTINGS = frozenset({"HOMING_HOME", "HOMING_APP"})  #: A place, and the app of `homing send`.
COLLECTOR = (
    "HOMING_COLLECTOR_",
    "HOMING_CLICKHOUSE_",
)  #: The far end's variables.
MOST_FILE_BYTES = 1024 * 1024
MOST_NAME_CHARS = 128
APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
APP_KEYS = ("id", "name", "version", "upstreams")
UPSTREAM_KEYS = ("kind", "endpoint", "data_api", "token_file")
LATER_KINDS = frozenset({"bucket"})


class Mistakes:
    """Collects sentences while reading goes on; :meth:`raise_any` says them all at once."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, where: str, sentence: str) -> None:
        self.sentences.append(f"{where}: {sentence}")

    def raise_any(self) -> None:
        if self.sentences:
            raise SettingsFault(
                "\n".join(self.sentences),
                advice="Correct this, or see `homing config show` for what may be set.",
            )


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
        raise ValueError(f"must be {spec.bounds}, got {_shown(value)}")
    if isinstance(value, str):
        words = spec.meta.get("words")
        if not value.isprintable():
            raise ValueError("must be one line of printable text")
        if words and value not in words:
            raise ValueError(f"must be one of {spec.bounds}{nearest(value, words)}")
        if spec.meta.get("path") and value:
            value = _absolute(value)
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
            raise ValueError(f"must be {spec.bounds}, got {_shown(value)}")
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
            wrong.add(str(path), f"nothing is named {_clip(table)}{_hint(table, known)}")
        elif not isinstance(entries, dict):
            wrong.add(f"{path}: {table}", f"must be a table, [{table}], got {_shown(entries)}")
        else:
            for name, value in entries.items():
                key = f"{table}.{name}"
                if key in known:
                    take(known[key], value, f"{path}: {key}", str(path), from_text=False)
                else:
                    wrong.add(str(path), f"no setting is named {_clip(key)}{_hint(key, known)}")
    apps = _apps(written.get("apps", []), path, wrong)
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
                f"no setting is named {_clip(variable)}"
                f"{nearest(variable, (*variables, *NOT_SETTINGS))}",
            )
    for key, value in flags.items():
        if key in known:
            take(known[key], value, f"command line: {key}", "command line", from_text=True)
        else:
            wrong.add("command line", f"no setting is named {_clip(key)}{_hint(key, known)}")

    wrong.raise_any()
    tables = {
        table: cls(
            **{k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{table}.")}
        )
        for table, cls in TABLES.items()
    }
    return Settings(**tables, apps=apps, origins=MappingProxyType(origins), file=path)


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SettingsFault(f"{path}: {exc}", advice="It must be TOML; see toml.io.") from exc


def _apps(entries: object, path: Path, wrong: Mistakes) -> tuple[App, ...]:
    """Read ``[[apps]]``; mistakes are added, and what they stand in is left out."""
    where = f"{path}: apps"
    if not isinstance(entries, list):
        wrong.add(where, "must be a list of tables, [[apps]]")
        return ()
    apps: list[App] = []
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        here = f"{where}[{number}]"
        if not isinstance(entry, dict):
            wrong.add(here, "must be a table, [[apps]]")
            continue
        app = _app(entry, here, wrong)
        if app is not None and app.id in seen:
            wrong.add(here, f"the id {app.id!r} is used twice")
        elif app is not None:
            seen.add(app.id)
            apps.append(app)
    return tuple(apps)


def _app(entry: Mapping[str, object], here: str, wrong: Mistakes) -> App | None:
    before = len(wrong.sentences)
    _unknown(entry, APP_KEYS, here, wrong)
    app_id = _text(entry, "id", "", here, wrong)
    if "id" not in entry:
        wrong.add(here, 'needs an id, as in: id = "acme-notes"')
    elif app_id is not None and not APP_ID.fullmatch(app_id):
        wrong.add(f"{here}.id", f"must be 1 to 64 letters, digits, - or _, got {_shown(app_id)}")
    name = _text(entry, "name", app_id or "", here, wrong, most=MOST_NAME_CHARS)
    version = _text(entry, "version", "", here, wrong, most=64)
    upstreams = _upstreams(entry.get("upstreams", []), here, wrong)
    if len(wrong.sentences) > before or app_id is None or name is None or version is None:
        return None
    return App(id=app_id, name=name, version=version, upstreams=upstreams)


def _upstreams(entries: object, here: str, wrong: Mistakes) -> tuple[Upstream, ...]:
    where = f"{here}.upstreams"
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        wrong.add(where, "must be a list of tables, [[apps.upstreams]]")
        return ()
    if len(entries) > 1:
        wrong.add(where, f"an app has one upstream in this version, got {len(entries)}")
    if not entries:
        return ()
    entry, where = entries[0], f"{where}[1]"
    _unknown(entry, UPSTREAM_KEYS, where, wrong)
    kind = entry.get("kind")
    if isinstance(kind, str) and kind in LATER_KINDS:
        wrong.add(f"{where}.kind", f'"{kind}" comes with a later version, this one has "nucleus"')
    elif kind != "nucleus":
        got = f", got {_shown(kind)}" if "kind" in entry else ""
        wrong.add(f"{where}.kind", f'must be "nucleus"{got}')
    endpoint = _text(entry, "endpoint", NUCLEUS, where, wrong, rule=check_endpoint)
    data_api = _text(entry, "data_api", "", where, wrong, rule=check_origin)
    token_file = _text(entry, "token_file", "", where, wrong)
    if token_file and (token_file := _absolute(token_file)) is None:
        wrong.add(f"{where}.token_file", "must be an absolute path")  # it may be the token itself
    if token_file and not data_api:
        wrong.add(f"{where}.token_file", "is for a Data API, but data_api is not set")
    if endpoint is None or data_api is None or token_file is None:
        return ()
    return (Upstream(kind="nucleus", endpoint=endpoint, data_api=data_api, token_file=token_file),)


def _text(
    entry: Mapping[str, object],
    key: str,
    default: str,
    here: str,
    wrong: Mistakes,
    *,
    most: int = 2048,
    rule: Callable[[str], str] | None = None,
) -> str | None:
    """Return one text of a table, ``default`` if absent, None if it is wrong (and said)."""
    if key not in entry:
        return default
    value = entry[key]
    if not isinstance(value, str):
        wrong.add(f"{here}.{key}", f"must be text, got {_shown(value)}")
        return None
    if len(value) > most or any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        wrong.add(f"{here}.{key}", f"must be one line of at most {most} characters")
        return None
    if rule is None:
        return value
    try:
        return rule(value)
    except SettingsFault as fault:
        wrong.add(f"{here}.{key}", str(fault))
        return None


def _unknown(
    entry: Mapping[str, object], known: tuple[str, ...], here: str, wrong: Mistakes
) -> None:
    for key in entry:
        if key not in known:
            wrong.add(here, f"nothing is named {_clip(key)}{nearest(key, known)}")


def _number(text: str) -> object:
    """Read a number as a person writes it; anything else stays text."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?[0-9]{1,18}\.[0-9]{1,18}", text):
        return float(text)
    return text


def _absolute(path: str) -> str | None:
    """Return a path with ``~`` spelled out, or None if it depends on where a program runs."""
    if path.startswith("~/"):
        path = os.path.expanduser(path)  # noqa: PTH111 - pathlib raises where there is no home
    return path if Path(path).is_absolute() else None


def _hint(key: str, known: Iterable[str]) -> str:
    """As :func:`nearest`, for dotted keys; a name under the wrong table is found as well."""
    names = tuple(known)
    last = key.rpartition(".")[2]
    same = [name for name in names if name.partition(".")[2] == last]
    if len(same) == 1:
        return f", did you mean {same[0]}?"
    return nearest(key, (*TABLES, "apps", *names))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean …?`` for a word that is nearly one of ``known``, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""


def _clip(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _shown(value: object) -> str:
    """Show a value as the file would write it, clipped."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
