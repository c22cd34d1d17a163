"""`status` and `top` where an app has several upstreams: each is named, with its own ledger."""

from __future__ import annotations

from typing import Any

from agent.cli.top_view import _links
from agent.door import LinkStatus
from tests.agent.cli.conftest import NOW_MS
from tests.agent.cli.test_upstreams import link, two


def test_the_status_has_a_line_for_each_upstream_and_names_it_before_its_address(
    desk: Any,
) -> None:
    desk.door.now = two()
    desk.run("status")
    lines = [line.split() for line in desk.said.splitlines()]
    assert ["acme", "vendor", "1,204", "1,204", "0", "0", "0", "balanced"] in lines
    assert ["acme", "mine", "1,204", "1,000", "204", "0", "0", "balanced"] in lines
    assert ["acme", "vendor:", "wss://vendor.example", "live", "5", "s"] in lines
    (down,) = (line for line in desk.said.splitlines() if "wss://mine.example" in line)
    assert down.endswith("connection refused")


def test_top_shows_the_upstream_that_is_down_first() -> None:
    links: tuple[LinkStatus, ...] = (link("vendor", "live"), link("mine", "waiting"))
    first, second = (str(line) for line in _links(links, NOW_MS, 2))
    assert first == "waiting 5 s acme → mine wss://mine.example"
    assert second == "live 5 s acme → vendor wss://vendor.example"


def test_a_way_that_had_nothing_to_send_is_not_said_to_be_idle_since_1970(desk: Any) -> None:
    unused = link("vendor", "idle", kind="bucket", since_ms=0)
    desk.door.now = two(links=(unused, link("mine", "live")))
    desk.run("status")
    lines = [line.split() for line in desk.said.splitlines()]
    assert ["acme", "vendor:", "wss://vendor.example", "idle"] in lines
    first = str(_links((unused,), NOW_MS, 1)[0])
    assert first == "idle acme → wss://vendor.example"
