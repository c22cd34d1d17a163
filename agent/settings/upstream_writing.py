"""One upstream left to an app in the settings file; everything else stays as a person wrote it."""

from __future__ import annotations

import contextlib
import re
import tomllib
from pathlib import Path
from typing import Any

from agent.settings.mistakes import nearest
from agent.settings.reading import check_text, read_file
from agent.settings.writing import replace
from tracking.errors import SettingsFault


def keep_only(path: Path, app_id: str, name: str) -> list[str]:
    """Remove all upstreams of an app but one from ``homing.toml``.

    Args:
        path: The file.
        app_id: Whose.
        name: Of the upstream that stays.

    Returns:
        The names of those that were removed.

    Raises:
        SettingsFault: No such app or upstream, nothing to remove, or a file that was wrong before
            or would be afterwards. Nothing was written.
        StorageFault: The file cannot be written.

    """
    read_file(path)  # refuses what others can change, what is no TOML, what is far too large
    before = path.read_text("utf-8") if path.exists() else ""
    app = check_text(before, path).app(app_id)
    if app is None:
        raise SettingsFault(f"{path}: no app has the id {app_id!r}")
    names = [upstream.name for upstream in app.upstreams]
    if name not in names:
        raise SettingsFault(
            f"{path}: the app {app_id} has no upstream {name!r}{nearest(name, names)}"
        )
    if len(names) == 1:
        raise SettingsFault(f"{path}: {name} is the only upstream of {app_id} already")
    after = _without_others(before, app_id, name)
    check_text(after, path)
    replace(path, after)
    return [other for other in names if other != name]


HEADER = re.compile(r"\s*\[{1,2}\s*([A-Za-z0-9_.\s-]+?)\s*\]{1,2}\s*(#.*)?")


def _without_others(text: str, app_id: str, name: str) -> str:
    """Return the file with one upstream of an app, checked against what it was to become."""
    wanted = tomllib.loads(text)
    at = next(n for n, app in enumerate(wanted["apps"]) if app.get("id") == app_id)
    listed = wanted["apps"][at]["upstreams"]
    kept = [n for n, one in enumerate(listed) if one.get("name", one["kind"]) == name]
    wanted["apps"][at]["upstreams"] = [listed[n] for n in kept]
    after = _cut(text, at, kept)
    with contextlib.suppress(tomllib.TOMLDecodeError):
        if tomllib.loads(after) == wanted:
            return after
    return _cut_in_line(text, at, kept)  # written as one list, or in a way of its own


def _cut(text: str, app: int, kept: list[int]) -> str:
    """Cut tables out, each with the comment right above it."""
    lines = text.splitlines(keepends=True)
    starts: list[tuple[int, bool]] = []  # where a table begins, and whether it goes
    apps = upstreams = -1
    for at, line in enumerate(lines):
        found = HEADER.fullmatch(line.rstrip("\n"))
        if found is None:
            continue
        header = found[1].replace(" ", "")
        apps, upstreams = (apps + 1, -1) if header == "apps" else (apps, upstreams)
        upstreams += header == "apps.upstreams"
        goes = header == "apps.upstreams" and apps == app and upstreams not in kept
        first = at
        while first and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        starts.append((first, goes))
    ends = [at for at, _ in starts[1:]] + [len(lines)]
    for (at, goes), end in reversed(list(zip(starts, ends, strict=True))):
        if goes:
            del lines[at:end]
    return "".join(lines)


def _cut_in_line(text: str, app: int, kept: list[int]) -> str:
    import tomlkit  # 30 ms that only this needs

    document: Any = tomlkit.parse(text)
    listed = document["apps"][app]["upstreams"]
    for at in reversed(range(len(listed))):
        if at not in kept:
            del listed[at]
    return tomlkit.dumps(document)
