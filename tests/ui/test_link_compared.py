"""What the last comparison with a collector found stands with the link, if there was one."""

from __future__ import annotations

from scripted_door import now_ms, snapshot

from agent.door import LinkStatus
from ui import details


def shown(confirmed: str) -> dict[str, str]:
    link = LinkStatus(
        app_id="acme", kind="homing", endpoint="wss://far.example", state="live",
        since_ms=now_ms(), confirmed=confirmed,
    )  # fmt: skip
    (view,) = details.links(snapshot(links=(link,)), now_ms())
    return {row.label: row.value for row in view.rows}


def test_the_sentence_is_shown() -> None:
    said = "The far end confirms 1,204 of 1,204 events."
    assert shown(said)["Compared"] == said


def test_a_link_that_was_never_compared_has_no_such_row() -> None:
    assert "Compared" not in shown("")
