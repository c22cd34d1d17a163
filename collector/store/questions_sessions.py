"""Sessions: how long they were, and which a person had (docs/numbers.md, "Sessions")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

from collector.store import queries_sessions as queries
from collector.store.asking import Asking, Row
from collector.store.local_time import Wall, day_name
from collector.store.queries_sessions import CELL_MS, NEVER

SILENCE_MS = CELL_MS
AT_ONCE = 100_000  #: Session ids that are bound to one question.
FEW = 2_000  #: Sessions that are walked here although it is doubtful whether they fell silent.


class Instance(NamedTuple):
    """One instance of a session; moments in Unix milliseconds."""

    device: str
    session: str
    start: int
    end: int
    duration: int
    actions: int
    errors: int
    users: frozenset[str]


class SessionQuestions(Asking):
    """What can be asked about sessions."""

    def durations(
        self, app: str, start: int, end: int, wall: Wall, few: int = FEW
    ) -> dict[str, float]:
        """Return the mean duration per local day of the start, in seconds; only days with one.

        Of more than a few doubtful sessions the engine is asked first which of them fell silent.
        """
        clock = wall.over(start, end)
        span = {"app": app, "start": start, "end": end, **clock.values}
        count: defaultdict[int, int] = defaultdict(int)
        total: defaultdict[int, int] = defaultdict(int)
        doubtful: set[str] = set()
        for day, session, n, ms in self._ask(clock.fill(queries.SURE), **span):
            if session:
                doubtful.add(session)
            else:
                count[day] += n
                total[day] += ms
        walked = len(doubtful) <= few
        broken = doubtful if walked else set()
        for some in _slices(() if walked else doubtful):
            for day, session, n, ms in self._ask(
                clock.fill(queries.STEADY), {"cells": queries.CELL}, sessions=some, **span
            ):
                if session:
                    broken.add(session)
                else:
                    count[day] += n
                    total[day] += ms
        for some in _slices(broken):
            cells = self._ask(queries.CELLS, app=app, sessions=some)
            for began, ms in _walked(cells, steady=walked):
                if start <= began < end and ms > 0:
                    day = wall.day_number(began)
                    count[day] += 1
                    total[day] += ms
        return {day_name(day): total[day] / n / 1000 for day, n in sorted(count.items()) if n}

    def instances_of_user(self, app: str, user: str) -> list[Instance]:
        """Return the sessions in which a userId was named, newest start first."""
        keys = self._ask(queries.KEYS_OF_USER, app=app, user=user)
        return [one for one in self._instances(app, keys) if user in one.users]

    def instances_of_devices(self, app: str, devices: Sequence[str]) -> list[Instance]:
        """Return the sessions of devices, newest start first."""
        keys = self._ask(queries.KEYS_OF_DEVICES, app=app, devices=list(devices))
        return self._instances(app, keys)

    def _instances(self, app: str, keys: Sequence[Row]) -> list[Instance]:
        wanted = {(device, session) for device, session in keys}
        if not wanted:
            return []
        both = {
            "app": app,
            "devices": sorted({device for device, _ in wanted}),
            "sessions": sorted({session for _, session in wanted}),
        }
        stays: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for device, session, first, last in self._ask(queries.STAYS, **both):
            stays[device, session].append((first, last))
        found: list[Instance] = []
        for key, rows in groupby(self._ask(queries.MOMENTS, **both), itemgetter(0, 1)):
            if key in wanted:
                found += _walk(key[0], key[1], [row[2:] for row in rows], stays[key])
        return sorted(found, key=lambda one: (-one.start, one.device, one.session))


def _slices(ids: Iterable[str]) -> Iterator[list[str]]:
    sessions = sorted(ids)
    for at in range(0, len(sessions), AT_ONCE):
        yield sessions[at : at + AT_ONCE]


def _walked(rows: Iterable[Row], *, steady: bool) -> Iterator[tuple[int, int]]:
    """Yield start and duration of each instance of those sessions that fell silent.

    Args:
        rows: Of :data:`queries.CELLS`.
        steady: Yield also those of which it was doubtful, and that did not.

    """
    for _, group in groupby(rows, itemgetter(0, 1)):
        cells = [row[3:] for row in group]
        gaps = [later[0] - earlier[1] >= SILENCE_MS for earlier, later in pairwise(cells)]
        quiet = sum(later[0] - earlier[1] for earlier, later in pairwise(cells))
        if quiet < SILENCE_MS or not (steady or any(gaps)):
            continue  # counted by the engine
        instances = [[cells[0]]]
        for silent, cell in zip(gaps, cells[1:], strict=True):
            low, first_init = cell[0], cell[4]
            if silent and first_init == low:
                instances.append([])
            instances[-1].append(cell)
        for instance in instances:
            began = min(cell[2] for cell in instance)
            if began == NEVER:
                continue  # nobody did anything: stays alone are no session
            last = began
            for low, high, *_ in instance:
                if high < began:
                    continue
                if low - last >= SILENCE_MS:
                    break
                last = high
            yield began, last - began


def _walk(
    device: str, session: str, events: list[Row], stays: list[tuple[int, int]]
) -> list[Instance]:
    """Return the instances of one session from its events ``(ts, kind, user, count)`` and stays."""
    moments = sorted({event[0] for event in events} | {at for stay in stays for at in stay})
    inits = {event[0] for event in events if event[1] == "init"}
    runs: list[list[int]] = []
    before = 0
    for at in moments:
        if not runs or (at - before >= SILENCE_MS and at in inits):
            runs.append([])
        runs[-1].append(at)
        before = at
    found = []
    for run in runs:
        its = [event for event in events if run[0] <= event[0] <= run[-1]]
        if not its:
            continue
        start = last = its[0][0]
        for at in run:
            if at > start:
                if at - last >= SILENCE_MS:
                    break
                last = at
        errors = sum(event[3] for event in its if event[1] == "error")
        found.append(
            Instance(
                device,
                session,
                start,
                its[-1][0],
                last - start,
                sum(event[3] for event in its) - errors,
                errors,
                frozenset(event[2] for event in its if event[2]),
            )
        )
    return found
