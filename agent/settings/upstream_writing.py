"""One upstream left to an app in the settings file; everything else stays as a person wrote it."""

from __future__ import annotations

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


def _without_others(text: str, app_id: str, name: str) -> str:
    import tomlkit  # 30 ms that only this needs

    document: Any = tomlkit.parse(text)
    app = next(one for one in document["apps"] if one["id"] == app_id)
    listed = app["upstreams"]
    for at in reversed(range(len(listed))):
        if listed[at].get("name", listed[at]["kind"]) != name:
            del listed[at]
    return tomlkit.dumps(document)
