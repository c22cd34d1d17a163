"""Which queue each way out has: nothing is left behind, and nothing is sent behind one's back."""

from __future__ import annotations

from agent.adapters.outbox.outbox import Outbox
from agent.rules.consent import Consent
from agent.rules.ledger import Loss
from agent.rules.quota import Bucket
from agent.rules.ways import Kind, Way, only_way, ways_of
from agent.runtime.counter.desk import Desk
from agent.runtime.counter.lanes import forgotten_lanes, kept_lanes, lanes_of, left_behind
from agent.runtime.counter.profile import PROFILE, Kept
from agent.runtime.counter.totals import shown

EVENT = b'{"id":"e1","type":"event"}'
NOW_MS = 1_795_225_137_848


def desk() -> Desk:
    return Desk(
        app_id="acme",
        name="acme",
        version="1",
        consent=Consent.ALLOWED,
        consent_from="settings file",
        bucket=Bucket(),
    )


def ways(*named: str, kind: Kind = "nucleus") -> list[Way]:
    return [w for n in named for w in ways_of(name=n, kind=kind, endpoint="wss://far.example")]


def seated(outbox: Outbox, them: list[Way], before: Desk | None = None) -> Desk:
    """Seat the app as a start of the agent does, with the profile that was kept."""
    one = desk()
    if before is not None:
        one.profile = PROFILE.decode(PROFILE.encode(before.profile))
    one.lanes = lanes_of(one, them, outbox)
    one.behind = left_behind(one, outbox)
    one.forgotten = forgotten_lanes(one, outbox)
    return one


def accept(outbox: Outbox, one: Desk, *ways_: str) -> None:
    """Put an event on these ways' queues."""
    with outbox.turn():
        for lane in one.lanes:
            if lane.way.name in ways_ or not ways_:
                outbox.append(lane.stream, [EVENT], NOW_MS)


def queues(outbox: Outbox, one: Desk) -> dict[str, int]:
    return {lane.way.name: outbox.account(lane.stream).pending for lane in one.lanes}


def test_what_waited_without_an_upstream_goes_to_the_first_one_that_is_named(
    outbox: Outbox,
) -> None:
    before = seated(outbox, [only_way()])
    accept(outbox, before)
    after = seated(outbox, ways("work", "backup"), before)
    assert queues(outbox, after) == {"work": 1, "backup": 0}
    assert after.forgotten == ()


def test_what_an_older_version_left_waiting_goes_on_to_the_upstream_of_the_same_name(
    outbox: Outbox,
) -> None:
    stream = outbox.stream("acme", "nucleus")
    with outbox.turn():
        outbox.append(stream, [EVENT], NOW_MS)
    after = seated(outbox, ways("nucleus", "backup"))
    assert after.lanes[0].stream == stream
    assert queues(outbox, after) == {"nucleus": 1, "backup": 0}


def test_a_queue_that_was_taken_over_stays_with_its_heir_wherever_it_stands_later(
    outbox: Outbox,
) -> None:
    before = seated(outbox, [only_way()])
    accept(outbox, before)
    heir = seated(outbox, ways("work"), before)
    later = seated(outbox, ways("backup", "work"), heir)
    assert queues(outbox, later) == {"backup": 0, "work": 1}


def test_what_waits_for_an_upstream_that_was_removed_is_not_sent_to_the_next_one(
    outbox: Outbox,
) -> None:
    before = seated(outbox, ways("nucleus", "work"))
    accept(outbox, before)
    after = seated(outbox, ways("other"), before)
    assert queues(outbox, after) == {"other": 0}
    assert {lane.way.name for lane in after.forgotten} == {"nucleus", "work"}


def test_a_renamed_upstream_leaves_its_queue_under_the_old_name(outbox: Outbox) -> None:
    first = seated(outbox, ways("work"))
    accept(outbox, first)
    renamed = seated(outbox, ways("office"), first)
    assert [lane.way.name for lane in renamed.forgotten] == ["work"]
    again = seated(outbox, ways("work"), renamed)
    assert queues(outbox, again) == {"work": 1}
    assert again.forgotten == ()


def test_a_forgotten_collector_is_known_by_the_language_of_each_queue(outbox: Outbox) -> None:
    before = seated(outbox, ways("mine", kind="homing"))
    accept(outbox, before)
    after = seated(outbox, ways("nucleus"), before)
    assert {(lane.way.name, lane.way.upstream, lane.way.language) for lane in after.forgotten} == {
        ("mine", "mine", "nucleus"),
        ("mine.bucket", "mine", "bucket"),
    }


def test_a_way_that_changes_its_language_begins_a_new_queue_and_comes_back_to_the_old(
    outbox: Outbox,
) -> None:
    nucleus = seated(outbox, ways("far"))
    accept(outbox, nucleus)
    bucket = seated(outbox, ways("far", kind="bucket-bulk"), nucleus)
    assert queues(outbox, bucket) == {"far": 0}
    assert [(lane.way.name, lane.way.language) for lane in bucket.forgotten] == [
        ("far:nucleus", "nucleus")
    ]
    accept(outbox, bucket)
    accept(outbox, bucket)
    again = seated(outbox, ways("far"), bucket)
    assert queues(outbox, again) == {"far": 1}
    assert [(lane.way.name, lane.way.language) for lane in again.forgotten] == [
        ("far:bucket", "bucket")
    ]
    assert queues(outbox, seated(outbox, ways("far", kind="bucket-bulk"), again)) == {"far": 2}


def test_what_an_older_version_left_waiting_is_not_told_to_a_far_end_of_another_language(
    outbox: Outbox,
) -> None:
    with outbox.turn():
        outbox.append(outbox.stream("acme", "nucleus"), [EVENT], NOW_MS)
    after = seated(outbox, ways("nucleus", kind="bucket-bulk"))
    assert queues(outbox, after) == {"nucleus": 0}
    assert [lane.way.name for lane in after.forgotten] == ["nucleus"]


def purged(outbox: Outbox, one: Desk) -> Desk:
    """Return the app's desk as a purge leaves it: no profile, no rows, the ledger."""
    outbox.purge(one.app_id)
    one.profile = desk().profile
    return one


def test_a_purged_app_that_is_allowed_again_goes_on_with_the_ledger_of_each_queue(
    outbox: Outbox,
) -> None:
    them = ways("mine", kind="homing") + ways("bb", kind="bucket")
    before = seated(outbox, them)
    accept(outbox, before)
    queues_before = [lane.stream for lane in before.lanes]
    after = seated(outbox, them, purged(outbox, before))
    assert [lane.stream for lane in after.lanes] == queues_before
    assert [outbox.account(lane.stream).lost[Loss.PURGED] for lane in after.lanes] == [1, 1, 1]


def test_a_queue_that_a_change_of_language_began_is_found_again_after_a_purge(
    outbox: Outbox,
) -> None:
    nucleus = seated(outbox, ways("far"))
    accept(outbox, nucleus)
    bucket = seated(outbox, ways("far", kind="bucket-bulk"), nucleus)
    accept(outbox, bucket)
    after = seated(outbox, ways("far", kind="bucket-bulk"), purged(outbox, bucket))
    assert after.lanes[0].stream == bucket.lanes[0].stream


def test_the_queues_of_an_app_that_may_not_report_have_the_names_of_its_upstreams(
    outbox: Outbox,
) -> None:
    them = ways("mine", kind="homing")
    before = seated(outbox, [only_way()])
    accept(outbox, before)
    heir = seated(outbox, them, before)
    accept(outbox, heir)
    lanes = kept_lanes("acme", heir.profile.ways, them, outbox)
    assert [(lane.way.name, lane.way.upstream, lane.way.kind) for lane in lanes] == [
        ("mine", "mine", "homing"),
        ("mine.bucket", "mine", "homing"),
    ]
    gone = kept_lanes("acme", heir.profile.ways, ways("other"), outbox)
    assert [(lane.way.upstream, lane.way.language) for lane in gone] == [
        ("mine", "nucleus"),
        ("mine", "bucket"),
    ]
    outbox.purge("acme")
    assert kept_lanes("acme", {}, them, outbox), "the ledger stays to be seen"


def test_what_waits_for_an_upstream_that_has_gone_is_among_the_numbers_of_its_app(
    outbox: Outbox,
) -> None:
    before = seated(outbox, ways("mine", kind="homing"))
    accept(outbox, before)
    accept(outbox, before)
    nowhere = seated(outbox, [only_way()], before)
    account = shown(outbox, nowhere)
    assert (account.accepted, account.pending, account.balanced) == (4, 4, True)


def test_what_was_dropped_with_an_upstream_that_has_gone_stays_lost(outbox: Outbox) -> None:
    before = seated(outbox, ways("a", "old"))
    accept(outbox, before)
    after = seated(outbox, ways("a"), before)
    assert [sum(outbox.dropping(lane.stream)) for lane in after.forgotten] == [1]
    for one in (after, seated(outbox, ways("a"), after)):
        account = shown(outbox, one)
        assert (account.accepted, account.lost, account.balanced) == (1, {Loss.PURGED: 1}, True)


def test_only_an_app_with_several_upstreams_is_counted_by_day(outbox: Outbox) -> None:
    seated(outbox, ways("mine", kind="homing"))
    assert outbox.counting.streams == set()
    both = seated(outbox, ways("mine", kind="homing") + ways("vendor"))
    assert outbox.counting.streams == {lane.stream for lane in both.lanes}


def test_what_an_older_profile_kept_of_its_one_way_is_kept() -> None:
    raw = b'{"form":"track","hold":{"endpoint":"wss://far.example","since_ms":5,"attempt":7}}'
    profile = PROFILE.decode(raw)
    assert profile.ways["nucleus"].form == "track"
    assert (profile.form, profile.hold) == ("", None)
    assert PROFILE.decode(PROFILE.encode(profile)) == profile
    assert isinstance(profile.ways["nucleus"], Kept)
