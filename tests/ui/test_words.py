"""Words, numbers and times, and the plain text rule."""

from __future__ import annotations

import time

import pytest

from ui import language, words

NOW = 1_773_320_000_000


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("build.finished", "build.finished"),
        (None, ""),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("nul\x00 and bell\x07", "nul␀ and bell␇"),
        ("invoice\u202egnp.exe", "invoice‹U+202E›gnp.exe"),
        ("zero\u200bwidth", "zero‹U+200B›width"),
        ("\u2066isolated\u2069", "‹U+2066›isolated‹U+2069›"),
        ("del\x7f c1\x9b", "del␡ c1‹U+009B›"),
        ("Zoë 日本 ليلى 👩‍🚀", "Zoë 日本 ليلى 👩‍🚀"),
        ("\ud800", "‹U+D800›"),
    ],
)
def test_outer_text_shows_what_it_is(given: str | None, shown: str) -> None:
    assert words.plain(given) == shown


def test_a_name_of_a_megabyte_is_clipped_and_costs_nothing() -> None:
    begun = time.perf_counter()
    shown = words.plain("W" * 1_000_000)
    assert shown == "W" * 119 + "…"
    assert words.plain("\u202e" * 1_000_000)[-1] == "…"
    assert time.perf_counter() - begun < 0.05


def test_a_tower_of_accents_does_not_paint_over_its_neighbours() -> None:
    assert words.plain("a" + "\u0300" * 60 + "b") == "a" + "\u0300" * 4 + "b"


def test_markup_is_text_in_tooltips_menus_and_where_nobody_knows() -> None:
    assert (
        words.tip('<img src="/etc/passwd">') == "<qt>&lt;img src=&quot;/etc/passwd&quot;&gt;</qt>"
    )
    assert words.tip("") == ""
    assert words.menu_text("Salt & pepper") == "Salt && pepper"
    assert words.unmarked("<b>a</b> & b") == "‹b›a‹/b› ＆ b"


def test_very_long_words_may_end_a_line_and_ordinary_ones_may_not() -> None:
    assert words.breakable("an ordinary sentence") == "an ordinary sentence"
    assert "\u200b" in words.breakable("x" * 100)
    assert words.breakable("x" * 100).replace("\u200b", "") == "x" * 100


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"), (0, "0 s"), (40, "40 s"), (119, "119 s"), (12 * 60, "12 min"),
        (2 * 3600 + 600, "2 h 10 min"), (26 * 3600, "26 h"), (3 * 86400, "3 days"),
    ],
)  # fmt: skip
def test_lengths_of_time(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


def test_times_are_told_from_now() -> None:
    assert words.ago(None, NOW) == "never"
    assert words.ago(NOW - 2_000, NOW) == "just now"
    assert words.ago(NOW + 60_000, NOW) == "just now"  # a clock that is ahead
    assert words.ago(NOW - 720_000, NOW) == "12 min ago"
    assert words.until(NOW + 40_000, NOW) == "in 40 s"
    assert words.until(NOW - 1, NOW) == "now"
    assert words.until(None, NOW) == ""


@pytest.mark.parametrize(
    ("n", "said"),
    [(0, "0"), (9_999, "9,999"), (18_442, "18.4k"), (123_456, "123k"), (1_000_000, "1M"),
     (-5, "−5"), (2**63, "9.2E")],
)  # fmt: skip
def test_short_numbers(n: int, said: str) -> None:
    assert words.short_count(n) == said


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_204, "1.2 KiB"),
        (256 * 1024**2, "256 MiB"),
        (2**63, "8 EiB"),
    ],
)
def test_sizes(n: int, said: str) -> None:
    assert words.byte_size(n) == said


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [
        (30, 18, ("up", "+12 vs. yesterday")),
        (3, 9, ("down", "−6 vs. yesterday")),
        (7, 7, ("same", "same as yesterday")),
        (7, None, ("none", "")),
    ],
)
def test_differences(now: int, before: int | None, said: tuple[str, str]) -> None:
    assert words.difference(now, before) == said


def test_the_outbox_forecast_has_one_sentence_for_each_case() -> None:
    assert words.forecast(0, None, None).startswith("Empty")
    assert words.forecast(5, 7_800, None) == "At this rate full in 2 h 10 min."
    assert words.forecast(5, None, 180) == "Delivered in about 3 min."
    assert "more than a year" in words.forecast(5, 1e12, None)
    assert "Kept safe" in words.forecast(5, None, None)


def test_systems_are_called_as_their_makers_write_them() -> None:
    assert words.system_name("linux", "12") == "Linux 12"
    assert words.system_name("darwin", None) == "macOS"
    assert words.system_name(None, None) == ""
    assert words.system_name("Plan 9", "4") == "Plan 9 4"
    assert len(words.system_name("W" * 10**6, "x" * 10**6)) == 120


def test_until_tomorrow_ends_at_midnight_here() -> None:
    wait = words.until_tomorrow_s(NOW)
    there = time.localtime(NOW / 1000 + wait)
    assert (there.tm_hour, there.tm_min, there.tm_sec) == (0, 0, 0)
    assert 60 <= wait <= 25 * 3600


def test_every_number_follows_the_locale() -> None:
    language.speak(lambda text, _n: text, group=".", point=",")
    assert words.count(1_234_567) == "1.234.567"
    assert words.byte_size(1_536) == "1,5 KiB"


def test_quantities_and_names_stay_whole_where_text_runs_from_right_to_left() -> None:
    language.speak(lambda text, _n: text, mirrored=True)
    assert words.byte_size(1_536) == "\u20681.5 KiB\u2069"
    assert words.plain("/run/user") == "\u2068/run/user\u2069"


def test_a_translator_sees_the_count_and_values_are_never_formats() -> None:
    seen: list[tuple[str, int]] = []

    def translate(text: str, n: int) -> str:
        seen.append((text, n))
        return {"{n} events copied": "{n} zdarzeń"}.get(text, text)

    language.speak(translate)
    assert language.trn("Event copied", "{n} events copied", 5, n=5) == "5 zdarzeń"
    assert seen == [("{n} events copied", 5)]
    assert language.tr("{why}", why="{why.__class__}") == "{why.__class__}"
