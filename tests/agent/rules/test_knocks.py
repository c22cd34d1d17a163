"""Who knocks: counted, bounded, and not to be flooded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.rules.knocks import MOST_KNOCKERS, MOST_PATH_CHARS, Knocks


def test_a_knock_is_counted_with_who_how_often_and_how_much() -> None:
    knocks = Knocks()
    assert knocks.note("notes", by="line", events=3, now_ms=5, pid=7, executable="/usr/bin/notes")
    assert not knocks.note("notes", by="http", events=2, now_ms=9)
    one = knocks.by_app["notes"]
    assert (one.first_ms, one.last_ms, one.times, one.offered) == (5, 9, 2, 5)
    assert (one.pid, one.executable, one.by) == (7, "/usr/bin/notes", {"http", "line"})


def test_an_answered_app_leaves_the_list_and_is_new_when_it_comes_again() -> None:
    knocks = Knocks()
    knocks.note("notes", by="ws", events=0, now_ms=5)
    assert knocks.forget("notes") is not None
    assert knocks.forget("notes") is None
    assert knocks.note("notes", by="ws", events=0, now_ms=6)


def test_who_invents_ids_pushes_its_own_out() -> None:
    knocks = Knocks()
    knocks.note("honest", by="http", events=1, now_ms=0, pid=1, executable="/usr/bin/honest")
    for n in range(10 * MOST_KNOCKERS):
        knocks.note(f"id-{n}", by="line", events=1, now_ms=n, pid=2, executable="/tmp/loud")
    assert len(knocks.by_app) == MOST_KNOCKERS
    assert "honest" in knocks.by_app
    assert f"id-{10 * MOST_KNOCKERS - 1}" in knocks.by_app


def test_a_path_without_end_is_cut() -> None:
    knocks = Knocks()
    knocks.note("notes", by="http", events=0, now_ms=0, pid=1, executable="/" + "x" * 10_000)
    assert len(knocks.by_app["notes"].executable) == MOST_PATH_CHARS


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 9))))
def test_the_list_never_outgrows_its_bound_and_the_newest_is_on_it(
    knocked: list[tuple[int, int, int]],
) -> None:
    knocks = Knocks(most=5)
    for app, program, now in knocked:
        knocks.note(f"a{app}", by="line", events=1, now_ms=now, executable=f"/bin/{program}")
        assert len(knocks.by_app) <= 5
        assert f"a{app}" in knocks.by_app
