"""What comes from outside is a value, never a part of a query (SECURITY.md, threat 52).

Every question is asked with hostile names through both query builders, and the text that reaches
the engine has to be the one that a harmless name makes. Then the same names go through a real
server, and everything is still there afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from api_ends import delete, get, lately, person, segment, tell
from collectors import DAY, NOW, AppOf, now_ms, row
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.store.dialect import CLICKHOUSE, DUCKDB, Dialect, render
from collector.store.duck import DuckStore
from collector.store.local_time import Wall
from collector.store.questions import Questions
from collector.store.questions_people import Person

CORPUS = (
    "'", '"', "`", "\\", "\0", "''", "%", "%s", "%(app)s", "$app", "$1", "{}", "{events}", "{app}",
    "{in|a|b}", "<there>", "<day:ts>", ";", "--", "/*", "*/", "#", "\n", "\r\n", "\u2028", "é",
    "' OR '1'='1", "' OR 1=1 --", '" OR ""="', "'; DROP TABLE events; --", "1; DROP TABLE seen",
    "x' UNION SELECT * FROM events --", "x') UNION ALL SELECT table_name FROM "
    "information_schema.tables --", "admin'/*", "\\'; DROP TABLE events; --", "\\' OR 1=1 --",
    "$.a", "$.\"a\"]", "a.b[0]", "'||(SELECT max(user_id) FROM events)||'", "0x27", "CHAR(39)",
    "1 AND SLEEP(5)", "1' AND pg_sleep(5)--", "'; ATTACH 'x.db'; --", "'; COPY events TO 'x'; --",
    "'; INSTALL httpfs; --", "read_csv('/etc/passwd')", "url('http://127.0.0.1/')", "file('x')",
    "../../etc/passwd", "%27%20OR%201=1", "{{7*7}}", "${7*7}", "\ud7ff", "𝕏" * 40, "NULL", "null",
    "true", "NaN", "Infinity", "-1", "1e309", "9" * 400, "' " * 200,
)  # fmt: skip
HARMLESS = "harmless"
SPAN = (NOW - 5 * DAY, NOW + 1)


class Recorder:
    """A real store that remembers which texts reached it, as one of the engines reads them."""

    def __init__(self, store: DuckStore, words: Dialect) -> None:
        self.store = store
        self.words = words
        self.texts: list[str] = []

    @property
    def dialect(self) -> str:
        return self.words.name

    def ask(
        self, text: str, values: Mapping[str, object], *, deadline_s: float = 10.0
    ) -> list[tuple[Any, ...]]:
        self.texts.append(render(text, self.words))
        return self.store.ask(text, values, deadline_s=deadline_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


QUESTIONS: dict[str, Callable[[Questions, str], object]] = {
    "quickglance": lambda q, x: q.quickglance(x, NOW),
    "daily": lambda q, x: q.daily(x, *SPAN, Wall()),
    "by_name": lambda q, x: q.by_name("A", *SPAN, Wall(), x),
    "one_event": lambda q, x: q.one_event("A", *SPAN, Wall(), x),
    "eventsprops": lambda q, x: q.eventsprops(x, *SPAN),
    "values": lambda q, x: q.attribute_counts("A", *SPAN, x, x),
    "users": lambda q, x: q.users(x),
    "find": lambda q, x: q.find("A", x),
    "user": lambda q, x: q.user("A", Person("u", x)),
    "details": lambda q, x: list(
        q.details("A", [("id", Person("u", x), 0, 0), ("id", Person("a", x), 0, 0)])
    ),
    "sessions": lambda q, x: q.sessions_of("A", Person("u", x)),
    "devices": lambda q, x: q.devices_of("A", Person("u", x)),
    "hidden": lambda q, x: q.devices_of("A", Person("a", x)),
    "session": lambda q, x: (
        q.session_devices("A", Person("u", x), x),
        q.session_rows("A", Person("u", x), x, x, 5),
        q.sights("A", [x]),
    ),
    "company": lambda q, x: (q.company("A", x), q.company_rows("A", x, 0, 5)),
    "company_details": lambda q, x: q.company_details("A", [{"companyId": x}]),
    "feedback": lambda q, x: (q.feedback(x, *SPAN, 0, 5), q.feedback_averages(x, *SPAN)),
    "feedback_days": lambda q, x: q.feedback_days(x, *SPAN, Wall()),
    "retention": lambda q, x: q.retention(x, *SPAN, Wall()),
    "funnel": lambda q, x: q.funnel("A", *SPAN, [x, "E", x]),
    "errors": lambda q, x: (q.error_groups(x, *SPAN), q.error_group("A", *SPAN, x)),
    "held": lambda q, x: (
        q.held("A", Person("u", x), [x]),
        q.held_facts("A", Person("u", x), [x]),
        list(q.held_rows("A", Person("u", x), [x])),
    ),
    "arrivals": lambda q, x: q.arrivals(x, NOW),
    "reckoning": lambda q, x: (q.reckoning(x, *SPAN, [x]), q.erasures(x, NOW)),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckStore]:
    made = DuckStore(tmp_path_factory.mktemp("injection") / "events.duckdb", NOW)
    made.write(
        [
            row(user_id="u", session_id="s", company_id="c", attr_keys=["k"], attr_values=["1"]),
            row(kind="error", type="error", name="X", anon_id="a", device_id="n"),
        ]
    )
    with contextlib.closing(made):
        yield made


def texts(store: DuckStore, words: Dialect, what: str, said: str) -> list[str]:
    recorder = Recorder(store, words)
    QUESTIONS[what](Questions(recorder, 60), said)  # type: ignore[arg-type]
    return recorder.texts


hostile = st.sampled_from(CORPUS) | st.text(max_size=60).filter(
    lambda text: text.encode("utf-8", "ignore").decode() == text
)


@pytest.mark.parametrize("words", [DUCKDB, CLICKHOUSE], ids=lambda words: words.name)
@pytest.mark.parametrize("what", QUESTIONS)
@settings(max_examples=6, deadline=None)
@given(said=hostile)
def test_52_no_name_changes_the_text_of_a_question(
    what: str, words: Dialect, said: str, store: DuckStore
) -> None:
    names = (HARMLESS, "u", "c", "0" * 24, "A")  # unknown, known, and in the form of an _id
    right = {text for name in names for text in texts(store, words, what, name)}
    assert set(texts(store, words, what, said)) <= right
    assert not any(HARMLESS in text for text in right)


@pytest.mark.parametrize("words", [DUCKDB, CLICKHOUSE], ids=lambda words: words.name)
@pytest.mark.parametrize("said", CORPUS)
def test_52_the_whole_corpus_asks_about_an_event_and_its_attribute(
    said: str, words: Dialect, store: DuckStore
) -> None:
    for what in ("values", "find", "funnel", "one_event"):
        assert set(texts(store, words, what, said)) <= {
            *texts(store, words, what, HARMLESS),
            *texts(store, words, what, "0" * 24),
        }
    assert store.count("A") == 2


def test_52_the_whole_corpus_through_a_real_server(app: AppOf) -> None:
    tell(app, *person("u", "m", now_ms() - 1000))
    before = get(app, "/users")[1]["total"]
    span = lately()
    for said in CORPUS:
        name = segment(said)
        for path in (
            f"/analytics/events/{name}",
            f"/analytics/events/{name}/{name}",
            f"/users/{name}",
            f"/users/{name}/session/{name}",
            f"/users/u/session/{name}",
            f"/companies/{name}",
            f"/errors/{name}",
            f"/users/{name}/export",
        ):
            status, answer = get(app, path, **span)
            assert status in (200, 404), (path, status, answer)
        for query in (
            {"utcOffset": said},
            {"tz": said},
            {"limit": said},
            {"start": said},
            {"steps": f"{said},x"},
        ):
            path = "/funnel" if "steps" in query else "/analytics/events/E/a"
            status, answer = get(app, path, **{**span, **query})
            assert status in (200, 400), (query, status, answer)
            assert "error" in answer or answer.keys() == {"data"}
        assert get(app, "/users/u/session/4711", device=said)[0] in (200, 404)
        assert delete(app, f"/users/{name}")[0] == 404
    assert get(app, "/users")[1]["total"] == before == 1
