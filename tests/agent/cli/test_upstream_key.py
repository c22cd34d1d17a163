"""`homing upstreams key`: read, sent to the agent, and never shown."""

from __future__ import annotations

from typing import Any

from agent.door.upstream_keys import ForgetUpstreamKey, KeepUpstreamKey, KeyKept

KEPT = KeyKept(
    app_id="acme", upstream="vendor", origin="https://tracking.example", kept_in="keyring"
)


def test_a_key_is_read_from_standard_input_and_never_printed(desk: Any) -> None:
    desk.door.answers[KeepUpstreamKey] = KEPT
    desk.inward.write("trCqx4DG\n")
    desk.inward.seek(0)
    assert desk.run("upstreams", "key", "acme", "vendor") == 0
    assert desk.said == "The key for https://tracking.example is kept in: keyring.\n"
    ((_, (asked,)),) = desk.door.asked
    assert (asked.app_id, asked.name, asked.key) == ("acme", "vendor", "trCqx4DG")
    assert "trCqx4DG" not in repr(asked) + desk.said + desk.complained


def test_no_key_is_a_mistake_with_an_example(desk: Any) -> None:
    assert desk.run("upstreams", "key", "acme", "vendor") == 64
    assert "homing upstreams key acme vendor <key-file" in desk.complained
    assert desk.run("upstreams", "key", "acme") == 64


def test_a_key_that_is_only_in_memory_is_said_to_be(desk: Any) -> None:
    desk.door.answers[KeepUpstreamKey] = KeyKept(
        app_id="acme",
        upstream="vendor",
        origin="https://tracking.example",
        kept_in="memory (until it stops)",
        notice="It is forgotten when the agent stops.",
    )
    desk.inward.write("k\n")
    desk.inward.seek(0)
    assert desk.run("upstreams", "key", "acme", "vendor") == 0
    assert "forgotten when the agent stops" in desk.said


def test_a_key_is_forgotten(desk: Any) -> None:
    gone = KeyKept(app_id="acme", upstream="vendor", origin="https://tracking.example")
    desk.door.answers[ForgetUpstreamKey] = gone
    assert desk.run("upstreams", "forget-key", "acme", "vendor") == 0
    assert desk.said == "The key for https://tracking.example is deleted.\n"
    assert desk.run("upstreams", "forget-key", "acme", "vendor", "--json") == 0
    assert '"origin":"https://tracking.example"' in desk.said.replace(" ", "")
