"""``[[apps]]`` of the settings file: read whole, or refused with the place of every mistake.

What an upstream cannot be told is refused here (:func:`agent.rules.mapping.sayable`), with the
line that would agree to it: nothing is dropped later that a person did not name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from agent.rules.endpoints import check_endpoint, check_origin
from agent.rules.mapping import KINDS as WORDS
from agent.rules.mapping import PROFILES, sayable
from agent.rules.ways import HOSTS, KINDS, LANGUAGES, Kind, Language, Way, over_websocket
from agent.settings.mistakes import (
    Mistakes,
    absolute,
    nearest,
    number_of,
    refuse_unknown,
    shown,
    text_of,
)
from agent.settings.upstreams import App, Upstream

MOST_NAME_CHARS = 128
APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
UPSTREAM_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
APP_KEYS = ("id", "name", "version", "speaks", "events_per_s", "burst", "share", "upstreams")
UPSTREAM_KEYS = (
    "kind",
    "name",
    "endpoint",
    "data_api",
    "token_file",
    "key_file",
    "leave_out",
)
MOST_UPSTREAMS = 8  #: Each costs a thread, a connection and a copy of every event on disk.

W = TypeVar("W", bound=str)


def read_apps(entries: object, path: Path, wrong: Mistakes) -> tuple[App, ...]:
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
    refuse_unknown(entry, APP_KEYS, here, wrong)
    app_id = text_of(entry, "id", "", here, wrong)
    if "id" not in entry:
        wrong.add(here, 'needs an id, as in: id = "acme-notes"')
    elif app_id is not None and not APP_ID.fullmatch(app_id):
        wrong.add(f"{here}.id", f"must be 1 to 64 letters, digits, - or _, got {shown(app_id)}")
    name = text_of(entry, "name", app_id or "", here, wrong, most=MOST_NAME_CHARS)
    version = text_of(entry, "version", "", here, wrong, most=64)
    upstreams = _upstreams(entry.get("upstreams", []), here, wrong)
    speaks = _speaks(entry, upstreams, here, wrong)
    if len(wrong.sentences) > before or app_id is None or name is None or version is None:
        return None
    app = App(
        id=app_id,
        name=name,
        version=version,
        speaks=speaks,
        upstreams=upstreams,
        events_per_s=number_of(entry, "events_per_s", 0, (1, 1_000_000), here, wrong),
        burst=number_of(entry, "burst", 0, (1, 10_000_000), here, wrong),
        share=number_of(entry, "share", 100, (1, 100), here, wrong),
    )
    _refuse_unsayable(app, here, wrong)
    return app if len(wrong.sentences) == before else None


def _speaks(
    entry: Mapping[str, object], upstreams: Sequence[Upstream], here: str, wrong: Mistakes
) -> tuple[Language, ...]:
    """Return the languages of an app; by default Nucleus, and Bucket if an upstream knows it."""
    if "speaks" not in entry:
        knows = any(upstream.kind in PROFILES for upstream in upstreams)
        return LANGUAGES if knows else ("nucleus",)
    speaks = _words(entry, "speaks", LANGUAGES, here, wrong)
    if not speaks:
        wrong.add(f"{here}.speaks", 'must name a language: "nucleus" or "bucket"')
    elif not upstreams and "bucket" in speaks:
        wrong.add(
            f"{here}.speaks",
            "an app without an upstream is kept on this computer in the words of Nucleus;"
            ' for Bucket give it one, as in: kind = "homing"',
        )
    return speaks


def _upstreams(entries: object, here: str, wrong: Mistakes) -> tuple[Upstream, ...]:
    where = f"{here}.upstreams"
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        wrong.add(where, "must be a list of tables, [[apps.upstreams]]")
        return ()
    if len(entries) > MOST_UPSTREAMS:
        wrong.add(where, f"an app has at most {MOST_UPSTREAMS} upstreams, got {len(entries)}")
        return ()
    found: list[Upstream] = []
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        upstream = _upstream(entry, f"{where}[{number}]", wrong)
        if upstream is not None and upstream.name in seen:
            wrong.add(
                f"{where}[{number}].name",
                f'two upstreams are named "{upstream.name}"; give each a name of its own',
            )
        elif upstream is not None:
            seen.add(upstream.name)
            found.append(upstream)
    return tuple(found)


def _upstream(entry: Mapping[str, object], where: str, wrong: Mistakes) -> Upstream | None:
    before = len(wrong.sentences)
    refuse_unknown(entry, UPSTREAM_KEYS, where, wrong)
    kind = next((one for one in KINDS if one == entry.get("kind")), None)
    if kind is None:
        got = f", got {shown(entry['kind'])}" if "kind" in entry else ""
        known = ", ".join(f'"{one}"' for one in KINDS)
        wrong.add(f"{where}.kind", f"must be one of {known}{got}{_near_kind(entry)}")
    name = text_of(entry, "name", kind or "", where, wrong)
    if name and not UPSTREAM_NAME.fullmatch(name):
        wrong.add(f"{where}.name", f"must be 1 to 32 letters, digits, - or _, got {shown(name)}")
    elif name == "" and "name" in entry:
        wrong.add(f"{where}.name", "must be 1 to 32 letters, digits, - or _")
    if kind == "homing" and "endpoint" not in entry:
        wrong.add(where, 'a collector needs its endpoint, as in: endpoint = "wss://homing.example"')
    endpoint = text_of(
        entry, "endpoint", HOSTS.get(kind or "nucleus", ""), where, wrong, rule=_place_of(kind)
    )
    data_api = text_of(entry, "data_api", "", where, wrong, rule=check_origin)
    token_file = _file(entry, "token_file", where, wrong)
    key_file = _file(entry, "key_file", where, wrong)
    if token_file and not data_api:
        wrong.add(f"{where}.token_file", "is for a Data API, but data_api is not set")
    if key_file and kind is not None and kind not in PROFILES:
        wrong.add(f"{where}.key_file", f'is for a Bucket key, which kind = "{kind}" has not')
    leave_out = _words(entry, "leave_out", (*WORDS["nucleus"], *WORDS["bucket"]), where, wrong)
    if kind is None or name is None or endpoint is None or data_api is None:
        return None
    if len(wrong.sentences) > before:
        return None
    return Upstream(
        kind=kind,
        name=name,
        endpoint=endpoint,
        data_api=data_api,
        token_file=token_file,
        key_file=key_file,
        leave_out=leave_out,
    )


def _near_kind(entry: Mapping[str, object]) -> str:
    kind = entry.get("kind")
    return nearest(kind, KINDS) if isinstance(kind, str) else ""


def _place_of(kind: Kind | None) -> Callable[[str], str]:
    """Return the rule for an endpoint of this kind."""

    def either(url: str) -> str:
        return check_endpoint(over_websocket(url))

    if kind in ("bucket", "bucket-bulk"):
        return check_origin
    return either if kind == "homing" else check_endpoint


def _file(entry: Mapping[str, object], key: str, where: str, wrong: Mistakes) -> str:
    text = text_of(entry, key, "", where, wrong)
    if not text:
        return ""
    path = absolute(text)
    if path is None:
        wrong.add(f"{where}.{key}", "must be an absolute path")  # it may be the secret itself
    return path or ""


def _words(
    entry: Mapping[str, object], key: str, known: Iterable[W], here: str, wrong: Mistakes
) -> tuple[W, ...]:
    """Return a list of words, each one of ``known``."""
    value = entry.get(key, [])
    allowed = {str(one): one for one in known}
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        wrong.add(f"{here}.{key}", f"must be a list of words, got {shown(value)}")
        return ()
    for one in value:
        if one not in allowed:
            choice = ", ".join(allowed)
            sentence = f"must be of {choice}, got {shown(one)}{nearest(one, allowed)}"
            wrong.add(f"{here}.{key}", sentence)
    return tuple(allowed[one] for one in dict.fromkeys(value) if one in allowed)


def unsayable(way: Way, speaks: Iterable[Language]) -> list[str]:
    """Return the words of an app that a way out cannot be told and nobody agreed to leave out."""
    profile = PROFILES.get(way.kind, "front")
    parts = {"nucleus": way.events, "bucket": way.calls}
    return [
        word
        for language in speaks
        if parts[language] != "elsewhere"
        for word in WORDS[language]
        if word not in way.leave_out and not sayable(word, way.language, profile)
    ]


def _refuse_unsayable(app: App, here: str, wrong: Mistakes) -> None:
    for number, upstream in enumerate(app.upstreams, 1):
        words = list(
            dict.fromkeys(word for way in upstream.ways for word in unsayable(way, app.speaks))
        )
        if not words:
            continue
        listed = ", ".join(f'"{word}"' for word in dict.fromkeys((*upstream.leave_out, *words)))
        other = (
            ', or speaks = ["nucleus"] for the app'
            if not set(words) & set(WORDS["nucleus"])
            else ""
        )
        wrong.add(
            f"{here}.upstreams[{number}]",
            f'the app "{app.id}" may say {", ".join(words)}, which the upstream "{upstream.name}"'
            f" ({upstream.kind}) cannot be told; write leave_out = [{listed}] there to agree that"
            f" this is not sent{other}",
        )
