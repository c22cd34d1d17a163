"""Who may import whom (ARCHITECTURE §2): our own rooms, and each foreign library's post."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Source

ROOT = Path(__file__).parents[2]

POSTS = {  # library: (where it may be imported, why only there)
    "PySide6": (("ui/", "agent/cli/start.py"), "the agent runs where there is no display"),
    "psutil": (
        ("agent/adapters/machine/facts.py", "agent/adapters/machine/battery.py"),
        "15 ms of start, and its errors are its own",
    ),
    "keyring": (
        ("agent/adapters/machine/system_keyring.py",),
        "it blocks, so it is asked with patience",
    ),
    "websocket": (
        ("agent/adapters/links/websocket_", "agent/adapters/local/asking.py"),
        "without our caps and deadlines a server can hang or fill the agent",
    ),
    "h11": (("agent/adapters/links/http_wire.py",), "it has no deadlines; ours are there"),
    "nanoid": (("agent/runtime/counter/identify.py",), "chance is an argument everywhere else"),
    "truststore": (("agent/adapters/roads/tls.py",), "one place decides whom we trust"),
    "platformdirs": (
        ("agent/adapters/machine/places.py", "collector/places.py"),
        "one place decides where files lie",
    ),
    "dukpy": (
        ("agent/adapters/roads/pac_engine.py",),
        "what a network's script may do is bounded in a process of its own",
    ),
    "jeepney": (
        ("agent/adapters/machine/metered.py",),
        "it is asked with patience, and never needed",
    ),
    "tomlkit": (
        ("agent/settings/writing.py", "agent/settings/upstream_writing.py"),
        "30 ms that only writing settings needs",
    ),
    "rich": (("agent/cli/", "collector/cli/"), "a terminal is the command line's business"),
    "uvicorn": (("tracking/", "collector/"), "its classes run under our deadlines only there"),
    "httptools": (
        ("tracking/http_protocols.py",),
        "its classes run under our deadlines only there",
    ),
    "duckdb": (("collector/",), "150 MB that only a far end needs"),
    "clickhouse_driver": (
        ("collector/store/clickhouse_door.py",),
        "its errors become ours at the border, and a collector with a file has no driver",
    ),
    "maxminddb": (
        ("collector/intake/geoip.py",),
        "an address is looked up in one place, and forgotten",
    ),
    "sqlite3": (("agent/adapters/", "collector/"), "its errors become ours at the border"),
    "threading": (
        (
            "agent/runtime/",
            "agent/host.py",
            "agent/client.py",
            "agent/adapters/links/websocket_link.py",
            "agent/adapters/links/http_link.py",
            "agent/adapters/machine/secrets.py",
            "agent/adapters/roads/atlas.py",
            "agent/adapters/roads/names.py",
            "agent/adapters/roads/pac.py",
            "agent/adapters/machine/system_keyring.py",
            "homing/tray.py",
            "ui/bridge.py",
            "collector/",
        ),
        "threads talk by letters; a lock elsewhere is a mistake",
    ),
}


@cache
def _imported(source: Source) -> set[str]:
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_rooms_import_only_what_stands_below_them() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-1000:]


@pytest.mark.parametrize("library", POSTS)
def test_a_foreign_library_enters_at_its_border_post_only(
    library: str, rooms: tuple[Source, ...]
) -> None:
    places, why = POSTS[library]
    strays = [
        source.name
        for source in rooms
        if library in _imported(source) and not source.name.startswith(places)
    ]
    assert not strays, f"{library} belongs in {', '.join(places)}: {why}"


def test_the_language_and_the_rules_never_look_at_the_clock(rooms: tuple[Source, ...]) -> None:
    looks = [
        f"{source.name}:{node.lineno}"
        for source in rooms
        if source.name.startswith("agent/rules/")
        or source.name in ("tracking/nucleus.py", "tracking/frames.py", "tracking/dates.py")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")
    ]
    assert not looks, "time comes in as an argument"
