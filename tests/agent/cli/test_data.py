"""`data`, `reconcile` and `wipe --remote` before a scripted agent: what a person reads."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest

from agent.door.reconciliation import (
    DifferentHour,
    ReadReconciliation,
    Reconcile,
    Reconciled,
    Reconciliations,
)
from agent.door.your_data import (
    Deleted,
    DeleteData,
    Deletion,
    Deletions,
    FarEnd,
    Held,
    HeldApp,
    HeldStream,
    ReadDeletions,
    ReadHeld,
    ReadReceipts,
    Receipts,
    RetryDeletion,
)

ASKED = Deletion(
    id="17-ab", app_id="acme", upstream="main", origin="https://far.example", state="waiting",
    persons=("ada",), attempts=2, next_ms=1_795_225_140_000, reason="the far end answered 503",
)  # fmt: skip
DONE = Deletion(
    id="16-cd", app_id="acme", upstream="main", origin="https://far.example", state="done",
    answered=2, receipts=1,
)  # fmt: skip
HELD = Held(
    apps=(
        HeldApp(
            app_id="acme",
            name="Acme",
            consent="allowed",
            consent_from="settings file",
            streams=(HeldStream(name="main", accepted=9, delivered=4, pending=3, dead=2),),
            far_ends=(
                FarEnd(upstream="main", kind="homing", origin="https://far.example"),
                FarEnd(upstream="bucket", kind="bucket", why_not="it knows no deletion"),
            ),
        ),
    )
)


class Person(io.StringIO):
    """Somebody at a terminal who types this."""

    def isatty(self) -> bool:
        return True


def script(desk: Any, **answers: Any) -> Any:
    requests = (
        *(ReadHeld, DeleteData, ReadDeletions, ReadReceipts, RetryDeletion),
        *(Reconcile, ReadReconciliation),
    )
    named: dict[str, type] = {one.__name__: one for one in requests}
    desk.door.answers |= {named[name]: answer for name, answer in answers.items()}
    return desk


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exprot"], "did you mean export?"),
        (["export"], "takes a FILE"),
        (["receipt"], "takes a ID"),
        (["delete", "x"], "takes no"),
        ([], "required"),
    ],
)
def test_a_mistake_is_told(desk: Any, words: list[str], said: str) -> None:
    assert desk.run("data", *words) == 64
    assert said in desk.complained


def test_before_a_deletion_it_is_said_what_goes_and_who_cannot_be_asked(desk: Any) -> None:
    script(desk, ReadHeld=HELD)
    desk.inward = Person("n\n")
    assert desk.run("data", "delete", "--remote") == 1
    assert "DeleteData" not in [what for what, _ in desk.door.asked]
    assert "5 events not delivered" in desk.complained
    assert "main is asked to delete this person, on all devices" in desk.complained
    assert "bucket is not asked: it knows no deletion" in desk.complained
    assert "Delete everything that is held of every app? [y/N]" in desk.complained
    desk.inward = Person("n\n")
    assert desk.run("data", "delete") == 1
    assert "What far ends hold stays there" in desk.complained


def test_what_went_is_printed_and_what_is_left_is_exit_1(desk: Any) -> None:
    gone = Deleted(
        apps=("acme",), events=5, records=7, left=("the spool: busy",), requests=(ASKED,)
    )
    script(desk, ReadHeld=HELD, DeleteData=gone)
    assert desk.run("data", "delete", "--remote", "--yes") == 1
    assert "5 events not delivered, 7 records of the wire" in desk.said
    assert "asked https://far.example to delete: request 17-ab" in desk.said
    assert "still there: the spool: busy" in desk.complained
    assert desk.door.asked[-1] == ("DeleteData", (DeleteData(remote=True),))


def test_of_many_persons_a_few_are_printed(desk: Any) -> None:
    many = msgspec.structs.replace(ASKED, persons=tuple(f"u-{n}" for n in range(1005)))
    script(desk, ReadDeletions=Deletions(requests=(many,)))
    assert desk.run("data", "requests") == 0
    assert "still to be deleted: u-0, u-1, u-2, u-3, u-4 and 1,000 more\n" in desk.said


def test_requests_say_what_became_of_each(desk: Any) -> None:
    script(desk, ReadDeletions=Deletions(requests=(ASKED, DONE)))
    assert desk.run("data", "requests") == 0
    assert "17-ab waiting" in desk.said
    assert "still to be deleted: ada" in desk.said
    assert "the far end answered 503" in desk.said
    assert "2 answered, 1 receipt kept" in desk.said
    assert desk.run("data", "requests", "--app", "other") == 0
    assert "No far end was asked" in desk.said
    parked = Deletion(id="1", app_id="a", upstream="", origin="x", state="parked")
    script(desk, ReadDeletions=Deletions(requests=(parked,)))
    assert desk.run("data", "requests", "--json") == 1
    assert json.loads(desk.said)[0]["state"] == "parked"


def test_a_receipt_is_printed_as_it_was_signed(desk: Any) -> None:
    script(desk, ReadReceipts=Receipts(receipts=('{"statement":"{}"}',)))
    assert desk.run("data", "receipt", "16-cd") == 0
    assert desk.said == '{"statement":"{}"}\n'
    script(desk, ReadReceipts=Receipts())
    assert desk.run("data", "receipt", "16-cd") == 1


def test_a_retry_is_asked_for_and_shown(desk: Any) -> None:
    script(desk, RetryDeletion=Deletions(), ReadDeletions=Deletions(requests=(ASKED,)))
    assert desk.run("data", "retry", "17-ab") == 0
    assert ("RetryDeletion", (RetryDeletion(id="17-ab"),)) in desk.door.asked
    assert "17-ab" in desk.said


EQUAL = Reconciled(
    app_id="acme", upstream="main", verdict="equal", at_ms=1,
    text="The far end confirms 3 of 3 events.", confirmed=3, held=3, since_ms=0,
)  # fmt: skip
MISSING = Reconciled(
    app_id="acme", upstream="main", verdict="missing", at_ms=1, confirmed=3, held=2, since_ms=0,
    text="The far end confirms 2 of 3 events. 1 event missing in 1 hour.", unbelieved=4,
    hours=(DifferentHour(kind="missing", device="dev-1", hour_ms=0, ours=3, theirs=2),),
)  # fmt: skip


def test_equal_ends_are_one_sentence_and_exit_0(desk: Any) -> None:
    script(desk, Reconcile=Reconciliations(ways=(EQUAL,)))
    assert desk.run("reconcile") == 0
    assert desk.said.startswith("acme/main: The far end confirms 3 of 3 events.\n")
    assert desk.run("reconcile", "--json") == 0
    assert json.loads(desk.said)[0]["held"] == 3


def test_what_is_missing_names_the_hour_and_says_what_can_be_done(desk: Any) -> None:
    script(desk, ReadReconciliation=Reconciliations(ways=(MISSING,)))
    assert desk.run("reconcile", "--last") == 1
    assert "dev-1" in desk.said
    assert "4 there have a date that was not believed" in desk.said
    assert "cannot be sent again" in desk.said
    assert "homing data export" in desk.said


def test_nothing_to_compare_is_said(desk: Any) -> None:
    script(desk, Reconcile=Reconciliations())
    assert desk.run("reconcile") == 0
    assert "No far end of an app can be compared" in desk.said


def test_a_wipe_waits_for_the_far_end_and_deletes_nothing_if_it_refuses(desk: Any) -> None:
    parked = Deletion(
        id="17-ab", app_id="acme", upstream="m", origin="https://far.example", state="parked",
        reason="401",
    )  # fmt: skip
    script(desk, DeleteData=Deleted(requests=(ASKED,)), ReadDeletions=Deletions(requests=(parked,)))
    (desk.home / "data").mkdir(parents=True)
    assert desk.run("wipe", "--remote", "--yes") == 1
    assert "https://far.example has not deleted: 401" in desk.complained
    assert (desk.home / "data").is_dir()
    asked = [request for what, (request,) in desk.door.asked if what == "DeleteData"]
    assert asked == [DeleteData(remote=True, local=False)]
