"""What a person should know of a connection although it works, in the window."""

from __future__ import annotations

from scripted_door import now_ms, snapshot

from agent.door import LinkStatus
from ui import details

NOTE = "over HTTP (WebSocket blocked: the far end hung up before it answered)"


def shown(note: str) -> dict[str, str]:
    link = LinkStatus(
        app_id="acme",
        kind="nucleus",
        endpoint="wss://far.example",
        state="live",
        since_ms=now_ms(),
        note=note,
    )
    (view,) = details.links(snapshot(links=(link,)), now_ms())
    return {row.label: row.value for row in view.rows}


def test_a_link_that_goes_over_http_says_so() -> None:
    assert shown(NOTE)["Note"] == NOTE


def test_a_link_with_nothing_to_say_has_no_such_row() -> None:
    assert "Note" not in shown("")
