"""Durable first, then acknowledged; one commit a turn; once each."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from agent.adapters.outbox.outbox import Outbox
from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.rules.stamp import Identity
from agent.rules.ways import only_way
from agent.runtime.counter.desk import Desk, Lane
from agent.runtime.counter.profile import PROFILE, Profile
from tests.agent.runtime.conftest import Counter, make_desk
from tracking.errors import OverQuota, RequestFault, StorageFault

ONE = b'{"data":[{"name":"one"}]}'


def names(bodies: list[bytes]) -> list[str]:
    said = [json.loads(body) for body in bodies]
    return [event.get("name") or event["type"] for event in said]


def test_nothing_is_acknowledged_before_the_commit(counter: Counter) -> None:
    counter.say(ONE)
    assert counter.receipts == []
    counter.intake.flush()
    assert [receipt.fault for receipt in counter.receipts] == [None]
    assert names(counter.stored()) == ["init", "one"]


def test_everything_of_one_turn_is_planned_and_committed_once(counter: Counter) -> None:
    for _ in range(50):
        counter.say(ONE)
    assert counter.planned == 1
    counter.intake.flush()
    assert len(counter.receipts) == 50
    assert counter.outbox.account(counter.desks["acme"].stream or 0).accepted == 51


def test_a_commit_that_fails_acknowledges_nothing_and_changes_no_desk(counter: Counter) -> None:
    counter.say(ONE)

    def fail() -> None:
        raise StorageFault("the disk is full")

    with pytest.raises(StorageFault):
        counter.intake.flush(fail)
    assert isinstance(counter.receipts[0].fault, StorageFault)
    assert counter.receipts[0].unacknowledged == (0,)
    assert counter.stored() == []
    assert counter.desks["acme"].profile.session is None
    counter.say(ONE)
    counter.intake.flush()
    assert names(counter.stored()) == ["init", "one"]


def test_an_app_that_sends_its_own_init_is_not_doubled(counter: Counter) -> None:
    counter.say(b'{"data":[{"type":"init","sessionId":7},{"name":"a","sessionId":7}]}')
    counter.say(b'{"data":[{"name":"b","sessionId":7}]}')
    counter.intake.flush()
    assert names(counter.stored()) == ["init", "a", "b"]


def test_half_an_hour_of_silence_begins_a_new_session_with_an_init(counter: Counter) -> None:
    for minutes in (0, 29, 29 + 31):
        counter.now_ms = 1_795_225_137_848 + minutes * 60_000
        counter.say(ONE)
        counter.intake.flush()
    said = [json.loads(body) for body in counter.stored()]
    assert [event["type"] for event in said] == ["init", "event", "event", "init", "event"]
    assert [event["sessionId"] for event in said] == [1001, 1001, 1001, 1002, 1002]


def test_the_session_survives_a_restart(counter: Counter) -> None:
    counter.say(ONE)
    counter.intake.flush()
    kept = PROFILE.decode(counter.outbox.profile("acme"))
    assert kept.session is not None
    assert kept.session.session_id == 1001
    assert kept.recent == (1001,)


def test_an_event_with_an_id_is_accepted_once(counter: Counter) -> None:
    said = b'{"data":[{"id":7,"name":"one","payload":{"n":1}}]}'
    for _ in range(2):
        counter.say(said)
        counter.intake.flush()
    counter.say(said)
    counter.say(said)
    counter.intake.flush()
    assert [receipt.fault for receipt in counter.receipts] == [None] * 4
    assert names(counter.stored()) == ["init", "one"]
    assert counter.desks["acme"].repeats == 3


def test_a_repeat_is_known_after_delivery_and_for_its_own_app_only(counter: Counter) -> None:
    said = b'{"data":[{"id":"a-1","name":"one"}]}'
    counter.say(said)
    counter.intake.flush()
    stream = counter.desks["acme"].stream or 0
    batch = counter.outbox.lease(stream, 0, 500, 1 << 20)
    assert batch is not None
    with counter.outbox.turn():
        counter.outbox.settle(batch, set(batch.ids))
    counter.say(said)
    counter.say(said, "other")
    counter.intake.flush()
    assert names(counter.stored("acme")) == []
    assert names(counter.stored("other")) == ["init", "one"]


def test_the_same_id_with_other_content_is_another_event(counter: Counter) -> None:
    counter.say(b'{"data":[{"id":1,"name":"one"},{"id":1,"name":"two"}]}')
    counter.say(b'{"data":[{"id":1,"name":"one","payload":{"x":1}}]}')
    counter.intake.flush()
    assert names(counter.stored()) == ["init", "one", "two", "one"]


def test_a_stranger_is_refused_and_its_knocks_are_counted(counter: Counter) -> None:
    counter.desks["new"] = make_desk(counter.outbox, "new", Consent.PENDING)
    counter.say(ONE, "new")
    counter.say(ONE, "nobody")
    faults = [receipt.fault for receipt in counter.receipts]
    assert all(isinstance(fault, RequestFault) and fault.status == 403 for fault in faults)
    knocks = counter.consents.knocks.by_app
    assert {app_id: (one.times, one.offered) for app_id, one in knocks.items()} == {
        "new": (1, 1),
        "nobody": (1, 1),
    }
    assert counter.planned == 0


def test_a_denied_app_is_acknowledged_and_nothing_is_kept(counter: Counter) -> None:
    counter.desks["denied"] = make_desk(counter.outbox, "denied", Consent.DENIED)
    counter.say(ONE, "denied")
    assert [receipt.fault for receipt in counter.receipts] == [None]
    assert counter.unnamed == []
    assert counter.stored() == []


def test_over_quota_is_not_acknowledged_and_its_neighbour_is_unharmed(counter: Counter) -> None:
    counter.desks["acme"].bucket = Bucket(rate_per_s=1, burst=1)
    counter.say(ONE)
    counter.say(ONE)
    counter.say(ONE, "other")
    counter.intake.flush()
    fault = counter.receipts[0].fault
    assert isinstance(fault, OverQuota)
    assert fault.retry_after_s == pytest.approx(1.0)
    assert counter.receipts[0].unacknowledged == (0,)
    assert names(counter.stored("other")) == ["init", "one"]


def test_events_wait_for_an_identity_that_is_being_made(
    counter: Counter, outbox: Outbox, expected_warnings: Callable[..., None]
) -> None:
    fresh = Desk(
        app_id="fresh",
        name="fresh",
        version="",
        consent=Consent.ALLOWED,
        consent_from="settings file",
        bucket=Bucket(),
        lanes=(Lane(only_way(), outbox.stream("fresh", "nucleus")),),
    )
    counter.desks["fresh"] = fresh
    counter.say(ONE, "fresh")
    counter.say(ONE, "fresh")
    assert counter.unnamed == ["fresh"]
    assert counter.receipts == []
    counter.intake.identified("fresh", Identity(device_id="made", anon_id="made"))
    counter.intake.flush()
    assert len(counter.receipts) == 2
    assert {json.loads(body)["deviceId"] for body in counter.stored("fresh")} == {"made"}


def test_wire_ids_are_144_random_bits_whatever_the_sender_called_its_event(
    counter: Counter,
) -> None:
    counter.say(b'{"data":[{"id":7,"name":"a"},{"id":7,"name":"b"},{"name":"c"}]}')
    counter.intake.flush()
    ids = [json.loads(body)["id"] for body in counter.stored()]
    assert len(set(ids)) == 4
    assert all(len(wire_id) == 24 for wire_id in ids)


def test_a_no_while_an_identity_is_made_leaves_neither_identity_nor_row(counter: Counter) -> None:
    """The keyring may take its time; what was handed in meanwhile is dropped, not kept."""
    desk = make_desk(counter.outbox, "slow")
    desk.profile, desk.dirty = Profile(), False
    counter.desks["slow"] = desk
    counter.say(ONE, "slow")
    assert counter.unnamed == ["slow"]
    desk.consent = Consent.DENIED
    counter.intake.identified("slow", Identity(device_id="d", anon_id="a"))
    assert [receipt.fault for receipt in counter.receipts] == [None]
    assert counter.stored() == []
    assert (desk.profile.identity, desk.dirty) == (None, False)
