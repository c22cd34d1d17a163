"""What is counted, and how Prometheus reads it (text format 0.0.4).

A few lines instead of a library: there is one process, there are no labels that a sender chooses,
and what is read off elsewhere (connections, sizes) is asked for when somebody looks.

    Tally       events by what became of them and by their way in
    Histogram   seconds, in fixed buckets
    Metrics     all of it, and the text

No label is made of anything that was sent: an app's id, a name or a path would let a sender grow
the memory, and would tell whoever reads the metrics.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

TEXT = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: How what is being served came in; set at the entrance, seen by everything behind it.
way_in: ContextVar[str] = ContextVar("way_in", default="none")


class Tally(Counter[str]):
    """Counts by name; keeps beside it by which way in each came."""

    def __init__(self) -> None:
        super().__init__()
        self.by_way: Counter[tuple[str, str]] = Counter()

    def __setitem__(self, name: str, count: int) -> None:
        self.by_way[name, way_in.get()] += count - self[name]
        super().__setitem__(name, count)


class Histogram:
    """How long things took, in seconds. Any thread may observe."""

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total_s = 0.0
        self._lock = threading.Lock()

    def observe(self, seconds: float) -> None:
        with self._lock:
            self.counts[bisect.bisect_left(self.bounds, seconds)] += 1
            self.total_s += seconds

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        """Yield the samples; ``labels`` as in ``path="/x"``."""
        with self._lock:
            counts, total_s = list(self.counts), self.total_s
        before = f"{labels}," if labels else ""
        after = f"{{{labels}}}" if labels else ""
        so_far = 0
        for bound, count in zip((*map(repr, self.bounds), "+Inf"), counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{{before}le="{bound}"}} {so_far}'
        yield f"{name}_sum{after} {total_s!r}"
        yield f"{name}_count{after} {so_far}"


class Family(NamedTuple):
    """One metric as it is declared; docs/operating.md has a row for each."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    doc: str


WAYS = ("ws", "http", "bucket")
#: What becomes of events: understood (accepted), and then one of the rest but ``refused``, which
#: were not understood. ``unknown_app`` counts requests.
OUTCOMES = (
    *("accepted", "stored", "repeats", "refused", "foreign", "nobody", "over_quota", "behind"),
    *("erased", "unknown_app"),
)

FAMILIES = (
    Family("homing_events_total", "counter", "Events, by outcome and way in."),
    Family("homing_commit_seconds", "histogram", "How long a commit took."),
    Family("homing_queue_events", "gauge", "Events that wait for a commit."),
    Family("homing_connections", "gauge", "Open connections."),
    Family("homing_websockets", "gauge", "Open WebSockets among them."),
    Family("homing_connections_refused_total", "counter", "Connections closed unread."),
    Family("homing_live_devices", "gauge", "Devices that are here now."),
    Family("homing_query_seconds", "histogram", "How long an answer of the Data API took."),
    Family("homing_store_bytes", "gauge", "Size of the store's files."),
    Family("homing_ready", "gauge", "1 while the server answers for itself, else 0."),
    Family("homing_start_time_seconds", "gauge", "When the server began, Unix seconds."),
    Family("homing_resident_bytes", "gauge", "Memory of the process."),
    Family("homing_open_files", "gauge", "Files and sockets that the process has open."),
)


@dataclass(slots=True)
class Metrics:
    """Everything that is counted in one server.

    Attributes:
        events: What became of events.
        queries: Per path template of the Data API.
        commits: Per commit.
        gauges: What is read off when somebody looks, by the name of its family.

    """

    events: Tally = field(default_factory=Tally)
    queries: dict[str, Histogram] = field(default_factory=dict)
    commits: Histogram = field(default_factory=Histogram)
    gauges: dict[str, Callable[[], float | None]] = field(default_factory=dict)

    def query(self, path: str) -> Histogram:
        """Return the histogram of a path template."""
        return self.queries.setdefault(path, Histogram())

    def text(self) -> str:
        """Return the exposition. Called on the loop, which owns most of what is counted."""
        lines: list[str] = []
        for family in FAMILIES:
            samples = list(self._samples(family))
            if samples:
                lines += [f"# HELP {family.name} {family.doc}"]
                lines += [f"# TYPE {family.name} {family.kind}", *samples]
        return "\n".join(lines) + "\n"

    def _samples(self, family: Family) -> Iterator[str]:
        match family.name:
            case "homing_events_total":
                by_way = dict(self.events.by_way)
                ways = dict.fromkeys([*WAYS, *(way for _, way in by_way)])
                names = dict.fromkeys([*OUTCOMES, *(name for name, _ in by_way)])
                for way in ways:
                    for name in names:
                        labels = f'outcome="{name}",transport="{way}"'
                        yield f"{family.name}{{{labels}}} {by_way.get((name, way), 0)}"
            case "homing_commit_seconds":
                yield from self.commits.lines(family.name)
            case "homing_query_seconds":
                for path, histogram in sorted(self.queries.items()):
                    yield from histogram.lines(family.name, f'path="{path}"')
            case name:
                value = self.gauges[name]() if name in self.gauges else None
                if value is not None:
                    yield f"{name} {value!r}"


def resident_bytes() -> float | None:
    """Return the memory of this process, None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> float | None:
    """Return how many files and sockets this process has open, None where nobody tells."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a list of names is what it is
    except OSError:
        return None


def sizes(files: Mapping[str, Path]) -> float:
    """Return the bytes of those files that exist."""
    return sum(path.stat().st_size for path in files.values() if path.exists())
