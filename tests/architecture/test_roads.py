"""Whatever leaves the agent leaves by one road, which asks its list of hosts first."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Source

#: Who may make a connection or look a name up, and why it needs no list.
POSTS = {
    "agent/adapters/roads/connecting.py": "the road itself; open_road has asked",
    "agent/adapters/local/": "this computer's own socket",
    "agent/adapters/local/keyed_lines.py": "this computer's own socket",
    "agent/adapters/local/gateway": "this computer's own loopback",
    "agent/cli/entrance.py": "this computer's own socket",
    "agent/adapters/roads/pac.py": "asks the system for its own address; no packet is sent",
}
REACHES = frozenset(
    ("create_connection", "getaddrinfo", "gethostbyname", "urlopen", "open_connection")
)
#: Where ``connect`` is called on a socket or as our own function.
CONNECTS = {
    **POSTS,
    "agent/adapters/roads/road.py": "behind the list",
    "agent/adapters/roads/portal.py": "a far end that was on the list a moment ago",
    "agent/adapters/links/websocket_guard.py": "an upgrade on a road that is open",
    "agent/adapters/machine/systemd.py": "systemd's socket, by its path",
    "agent/adapters/machine/lock.py": "the other agent's socket, by its path",
    "agent/runtime/networks/hops.py": "asks the list itself, hop by hop",
    "agent/client.py": "this computer's own socket",
    "agent/cli/lane.py": "this computer's own socket",
    "agent/adapters/outbox/file.py": "a database's file",
}


def _calls(source: Source) -> list[tuple[str, ast.Call]]:
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = node.func
            if isinstance(name, (ast.Attribute, ast.Name)):
                found.append((name.attr if isinstance(name, ast.Attribute) else name.id, node))
    return found


def test_every_road_is_opened_with_the_agents_atlas(rooms: tuple[Source, ...]) -> None:
    without = [
        f"{source.name}:{node.lineno}"
        for source in rooms
        if source.name.startswith("agent/")
        for name, node in _calls(source)
        if name == "open_road" and "atlas" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not without, "without it any host would be contacted"


def test_every_link_that_the_agent_makes_has_the_agents_atlas(rooms: tuple[Source, ...]) -> None:
    made = [
        (f"{source.name}:{node.lineno}", {keyword.arg for keyword in node.keywords})
        for source in rooms
        if source.name.startswith("agent/runtime/")
        for name, node in _calls(source)
        if name in ("WebSocketLink", "HttpLink", "TrackLink", "DataApi")
    ]
    assert len(made) >= 4
    handed_on = {
        source.name for source in rooms if '"atlas": dock.atlas' in source.text
    }  # by a mapping of limits that two links share
    assert not [
        place
        for place, keywords in made
        if "atlas" not in keywords and not (None in keywords and place.split(":")[0] in handed_on)
    ]


def test_nobody_else_makes_a_connection_or_looks_a_name_up(rooms: tuple[Source, ...]) -> None:
    strays = [
        f"{source.name}:{node.lineno}: {name}"
        for source in rooms
        if source.name.startswith(("agent/", "tracking/"))
        for name, node in _calls(source)
        if (name in REACHES and not source.name.startswith(tuple(POSTS)))
        or (name in ("connect", "connect_ex") and not source.name.startswith(tuple(CONNECTS)))
    ]
    assert not strays, "open_road asks the list of hosts (agent/rules/contacts.py)"
