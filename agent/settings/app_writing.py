"""An app that a person allowed, written into the settings file; all else stays as they wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from agent.settings.reading import check_text, read_file
from agent.settings.upstreams import Upstream
from agent.settings.writing import default_text, replace


class Declared(NamedTuple):
    """What was written.

    Attributes:
        new: False: the file declared the app before, and was left alone.
        upstream: Where the file now sends its events; None: they stay on this computer.

    """

    new: bool
    upstream: Upstream | None


def declare_app(path: Path, app_id: str, name: str) -> Declared:
    """Add an app to ``homing.toml``, with the far end that it has already without being there.

    That is the file's first Nucleus upstream (``agent.runtime.people.seating.Seating.ways_of``), so
    that nothing moves when the agent starts again.

    Raises:
        SettingsFault: The file was wrong before, or would be afterwards. Nothing was written.
        StorageFault: The file cannot be written.

    """
    read_file(path)  # refuses what others can change, what is no TOML, what is far too large
    before = path.read_text("utf-8") if path.exists() else default_text()
    settings = check_text(before, path)
    known = settings.app(app_id)
    if known is not None:
        return Declared(new=False, upstream=next(iter(known.upstreams), None))
    upstream = next(
        (
            upstream
            for app in settings.apps
            for upstream in app.upstreams
            if any(way.language == "nucleus" and way.endpoint for way in upstream.ways)
        ),
        None,
    )
    block = f"[[apps]]\nid = {json.dumps(app_id)}\nname = {json.dumps(name, ensure_ascii=False)}\n"
    if upstream is not None:
        block += (
            "  [[apps.upstreams]]\n"
            '  kind = "nucleus"\n'
            f"  endpoint = {json.dumps(upstream.ways[0].endpoint)}\n"
        )
    after = f"{before.rstrip()}\n\n{block}"
    written = check_text(after, path).app(app_id)
    replace(path, after)
    stands = () if written is None else written.upstreams
    return Declared(new=True, upstream=next(iter(stands), None))
