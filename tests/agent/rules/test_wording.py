"""Numbers, spans and foreign strings as a person reads them."""

from __future__ import annotations

import unicodedata
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.wording import count, events, moment, sentence_end, size, some, span, visible


@given(st.text(max_size=300))
def test_no_text_keeps_a_character_that_a_terminal_could_obey(text: str) -> None:
    shown = visible(text, 100)
    for character in shown:
        allowed = character in "\u200c\u200d"
        assert allowed or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_text_is_clipped_before_it_is_made_visible() -> None:
    assert visible("x" * 1000, 10) == "x" * 9 + "…"
    assert visible("plain words", 11) == "plain words"


def test_a_pile_of_accents_cannot_paint_over_the_lines_around_it() -> None:
    assert visible("e" + "\u0301" * 50) == "e" + "\u0301" * 4


def test_joiners_stay_because_languages_need_them() -> None:
    assert visible("می\u200cخواهم") == "می\u200cخواهم"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86400, "1 d"),
        (273600, "3 d 4 h"),
    ],
)
def test_a_span_has_at_most_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (268_435_456, "256.0 MiB"),
        (2**51, "2048.0 TiB"),
    ],
)
def test_sizes_are_binary(number: int, text: str) -> None:
    assert size(number) == text


def test_counts_are_grouped_and_one_event_is_singular() -> None:
    assert (count(1204), events(1), events(1204)) == ("1,204", "1 event", "1,204 events")
    assert [some(n, "line") for n in (0, 1, 1204)] == ["0 lines", "1 line", "1,204 lines"]


def test_a_moment_names_its_day_only_when_it_is_another() -> None:
    now_ms = 1_760_007_600_000  # Thursday, 2025-10-09 11:00 UTC
    hour_ms = 3_600_000
    assert moment(now_ms + hour_ms, now_ms, UTC) == "12:00"
    assert moment(now_ms + 24 * hour_ms, now_ms, UTC) == "Fri 11:00"
    assert moment(now_ms + 10 * 24 * hour_ms, now_ms, UTC) == "19 Oct 11:00"
    assert moment(now_ms - 24 * hour_ms, now_ms, UTC) == "8 Oct 11:00"


def test_a_sentence_ends_once() -> None:
    assert [sentence_end(text) for text in ("a", "a.", "a? ", "")] == ["a.", "a.", "a?", ""]
