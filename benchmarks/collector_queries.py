"""How long the Data API's questions take, beside the engine's own simplest question of that kind.

    python -m benchmarks.collector_queries [--events 1000000] [--folder DIR]

The history is that of benchmarks/dataset.py; its first app has 70 % of it. Cold is the first
question after the file was opened (the system still has its pages), warm the median after that.
The other side of a ratio is what somebody would type into the engine's shell to get the gist of
the answer, on the same file with the same settings, in the same minute.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import duckdb

from benchmarks.dataset import DAY, History
from benchmarks.parity import Questions
from benchmarks.report import Row, table
from collector.store.duck import DuckStore
from collector.store.duck_file import CONFIG
from collector.store.local_time import Wall

APP = "app1"
BERLIN = Wall(0, ZoneInfo("Europe/Berlin"))


class Timed(NamedTuple):
    """One question, what it may take at 10 M events, and the engine's simplest like it.

    Attributes:
        name: The endpoint.
        ask: Of Questions, with the interval.
        raw: SQL; $app, $start and $end are bound.
        days: Of the interval.
        most_ms: The target, 0 if there is none.

    """

    name: str
    ask: Callable[[Questions, int, int], Any]
    raw: str
    days: int = 90
    most_ms: float = 0.0


def _where(more: str = "") -> str:
    return f"FROM events WHERE app_id = $app AND ts >= $start AND ts < $end {more}"


BY_DAY = (
    "SELECT ts // 86400000 AS d, count(*), count(DISTINCT user_id), "
    f"count(DISTINCT device_id) {_where()} GROUP BY d"
)

TIMED = (
    Timed(
        "quickglance",
        lambda q, start, end: q.quickglance(APP, end - 1),
        "SELECT count(*) FILTER (kind = 'init'), count(*) FILTER (kind = 'error'), "
        f"count(DISTINCT user_id), count(DISTINCT device_id) {_where()}",
        days=2,
        most_ms=50,
    ),
    Timed(
        "analytics (daily), 90 days",
        lambda q, start, end: q.daily(APP, start, end, Wall(480)),
        BY_DAY,
        most_ms=1_000,
    ),
    Timed(
        "analytics (daily), 90 days, tz",
        lambda q, start, end: q.daily(APP, start, end, BERLIN),
        BY_DAY,
        most_ms=1_000,
    ),
    Timed(
        "analytics (daily), 7 days",
        lambda q, start, end: q.daily(APP, start, end, Wall(480)),
        BY_DAY,
        days=7,
    ),
    Timed(
        "analytics/events, 90 days",
        lambda q, start, end: q.by_name(APP, start, end, Wall()),
        f"SELECT name, ts // 86400000 AS d, count(*) {_where()} AND kind = 'event' GROUP BY ALL",
    ),
    Timed(
        "analytics/errors, 90 days",
        lambda q, start, end: q.by_name(APP, start, end, Wall(), "error"),
        f"SELECT name, ts // 86400000 AS d, count(*) {_where()} AND kind = 'error' GROUP BY ALL",
    ),
    Timed(
        "analytics/eventsprops, 90 days",
        lambda q, start, end: q.eventsprops(APP, start, end),
        "SELECT name, k, count(*) "
        f"FROM (SELECT name, unnest(attr_keys) AS k {_where()}) GROUP BY ALL",
    ),
    Timed(
        "analytics/events/:event/:attr, 90 days",
        lambda q, start, end: q.attribute_counts(APP, start, end, "ITEM_PLAYED", "plan"),
        "SELECT attr_values[list_position(attr_keys, 'plan')] AS v, count(*) "
        f"{_where()} AND name = 'ITEM_PLAYED' GROUP BY v",
    ),
)


MOST_WRITTEN = 1_000_000  #: More than that is copied from so many.
SHIFT = 1_800_000  #: Between two copies: a whole cell of stays.


def filled(folder: Path, events: int) -> tuple[Path, History, float]:
    """Write a history as a collector does if it is not there; return the file and rows a second."""
    path = folder / f"{events}.duckdb"
    if events > MOST_WRITTEN:
        base, history, rate = filled(folder, MOST_WRITTEN)
        if not path.exists():
            _copied(base, path, events // MOST_WRITTEN, history)
        return path, history, rate
    history = History(events, batch=10_000)
    if path.exists():
        return path, history, 0.0
    store = DuckStore(path, history.start)
    took = 0.0
    for rows, facts in history:
        began = time.monotonic()
        store.write(rows, facts)
        took += time.monotonic() - began
    store.close()
    return path, history, (events + history.repeats) / took


def _copied(base: Path, path: Path, times: int, history: History) -> None:
    """Make a store in which everybody did everything so many times, half an hour apart."""
    shutil.copyfile(base, path)
    db = duckdb.connect(str(path), config={"memory_limit": "4GB", "threads": 2})
    copies = f"SELECT t.* REPLACE ({{}}) FROM {{}} t, range(0, {times}) AS copy(n)"
    moved = {
        "events": (
            "CASE WHEN n = 0 THEN key_a ELSE CAST(hash(key_a, n) >> 1 AS BIGINT) END AS key_a, "
            f"least(ts + n * {SHIFT}, {history.end} - 1) AS ts, recv_ts + n * {SHIFT} AS recv_ts, "
            f"CASE WHEN said_ts > 0 THEN said_ts + n * {SHIFT} ELSE 0 END AS said_ts, "
            "CASE WHEN session_id <> '' THEN concat(session_id, n) ELSE '' END AS session_id",
            "recv_ts",
        ),
        "beat": (
            f"first_ts + n * {SHIFT} AS first_ts, last_ts + n * {SHIFT} AS last_ts, "
            "CASE WHEN session_id <> '' THEN concat(session_id, n) ELSE '' END AS session_id",
            "first_ts",
        ),
    }
    try:
        for name, (changed, order) in moved.items():
            db.execute(f"CREATE TEMP TABLE once AS {copies.format(changed, name)} ORDER BY {order}")
            db.execute(f"DELETE FROM {name}")
            db.execute(f"INSERT INTO {name} SELECT * FROM once")
            db.execute("DROP TABLE once")
        db.execute("CHECKPOINT")
    finally:
        db.close()


class Took(NamedTuple):
    """How long a question took, in milliseconds.

    Attributes:
        cold: The first time.
        warm: The later ones.
        cpu: Of all cores together, once; what a quieter machine would make of it.

    """

    cold: float
    warm: list[float]
    cpu: float


def timed(ask: Callable[[], object], times: int) -> Took:
    """Ask once, and then some more."""
    took, worked = [], []
    for _ in range(times + 1):
        began, cpu = time.monotonic(), time.process_time()
        ask()
        took.append((time.monotonic() - began) * 1000)
        worked.append((time.process_time() - cpu) * 1000)
    return Took(took[0], took[1:], min(worked))


def _raw(path: Path, history: History, times: int) -> dict[str, Took]:
    db = duckdb.connect(str(path), config=CONFIG)
    found = {}
    try:
        for one in TIMED:
            span = {"app": APP, "start": history.end - one.days * DAY, "end": history.end}

            def ask(query: str = one.raw, span: dict[str, Any] = span) -> object:
                return db.execute(query, span).fetchall()

            found[one.name] = timed(ask, times)
    finally:
        db.close()
    return found


def measure(folder: Path, *, events: int, times: int) -> list[Row]:
    """Fill a store, ask it everything, and ask the engine alone."""
    path, history, rate = filled(folder, events)
    raw = _raw(path, history, times)
    began = time.monotonic()
    store = DuckStore(path, history.end)
    opened = time.monotonic() - began
    size = path.stat().st_size / (events + 1)
    rows = [
        Row(
            target_id="",
            what=f"{events:,} events: opened",
            unit="s",
            ours=[opened],
            note=f"{size:.0f} bytes each on disk; filled with {rate:,.0f}/s",
        )
    ]
    try:
        for one in TIMED:
            start, end = history.end - one.days * DAY, history.end
            ask = partial(_ask, store, one, start, end)
            rows.append(_row(one, events, timed(ask, times), raw[one.name]))
    finally:
        store.close()
    return rows


def _ask(store: DuckStore, one: Timed, start: int, end: int) -> object:
    return one.ask(Questions(store, 60.0), start, end)


def _row(one: Timed, events: int, took: Took, raw: Took) -> Row:
    target = one.most_ms if events >= 10_000_000 else 0.0
    simplest = statistics.median(raw.warm)
    return Row(
        target_id="P12" if target else "",
        what=f"  {one.name}",
        unit="ms",
        ours=took.warm,
        most=target or None,
        note=f"cold {took.cold:.0f}, CPU {took.cpu:.0f}; the engine's simplest {simplest:.0f}, "
        f"CPU {raw.cpu:.0f} ({statistics.median(took.warm) / simplest:.1f} ×)",
    )


def main() -> int:
    """Measure one size and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the file here, and take it from here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hb-") as name:
        folder = args.folder or Path(name)
        print(table(measure(folder, events=args.events, times=args.times)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
