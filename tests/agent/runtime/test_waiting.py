"""Who waits for far ends is called once, when every queue of every event is confirmed."""

from __future__ import annotations

from agent.runtime.counter.waiting import Waiters


def waiting() -> tuple[Waiters, list[str]]:
    return Waiters(), []


def test_an_event_on_two_queues_is_there_when_both_far_ends_have_it() -> None:
    waiters, heard = waiting()
    waiters.expect({"a": (1, 2), "b": (1, 2)}, lambda: heard.append("all"))
    waiters.confirmed(1, {"a", "b", "c"})
    waiters.confirmed(1, {"a", "b"})
    waiters.confirmed(2, {"a"})
    assert heard == []
    assert waiters
    waiters.confirmed(2, {"b"})
    assert heard == ["all"]
    assert not waiters
    waiters.confirmed(2, {"b"})
    assert heard == ["all"]


def test_what_is_on_no_queue_is_not_waited_for() -> None:
    waiters, heard = waiting()
    waiters.expect({"a": ()}, lambda: heard.append("none"))
    waiters.expect({}, lambda: heard.append("nothing"))
    assert heard == ["none", "nothing"]
    assert not waiters


def test_two_may_wait_for_one_event_and_one_may_give_up() -> None:
    waiters, heard = waiting()
    waiters.expect({"a": (1,)}, lambda: heard.append("one"))
    waiters.expect({"a": (1,), "b": (1,)}, lambda: heard.append("other"))
    waiters.confirmed(1, {"a"})
    assert heard == ["one"]
    waiters.give_up(["a", "b"])
    waiters.confirmed(1, {"b"})
    assert heard == ["one"]
    assert not waiters
