"""Upstreams asked about through the door: the dual run, and queues whose upstream has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from agent.adapters.outbox.daily import Day
from agent.adapters.outbox.outbox import Outbox
from agent.door.upstreams import (
    CompareUpstreams,
    Comparison,
    DropUpstream,
    Emptied,
    MoveUpstream,
    UpstreamDay,
    UpstreamSum,
)
from agent.rules.dual_run import Side, judge
from agent.runtime.counter.desk import Desk, Lane
from agent.runtime.counter.lanes import forgotten_lanes
from agent.runtime.counter.totals import behind, by_upstream
from tracking.errors import RequestFault

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core

MOST_DAYS = 400


def handlers(core: Core) -> Handlers:
    """Return who answers the requests of ``agent.door.upstreams``."""

    async def compare(request: CompareUpstreams) -> Comparison:
        if not 1 <= request.days <= MOST_DAYS:
            raise RequestFault(f"days must be from 1 to {MOST_DAYS}", field="days")
        desk = _desk(core, request.app_id)
        return comparison(desk, core.outbox, request.days, core.means.wall_ms())

    async def drop(request: DropUpstream) -> Emptied:
        desk = _desk(core, request.app_id)
        lanes = _forgotten(desk, request.name)
        events = 0
        for lane in lanes:
            events += await _a_slice_at_a_time(core.outbox.dropping(lane.stream))
        return _emptied(core, desk, lanes, events)

    async def move(request: MoveUpstream) -> Emptied:
        desk = _desk(core, request.app_id)
        lanes = _forgotten(desk, request.name)
        heirs = _heirs(desk, lanes, request.to)
        events = 0
        for lane, heir in zip(lanes, heirs, strict=True):
            events += await _a_slice_at_a_time(core.outbox.moving(lane.stream, heir.stream))
        core.departures.offer(desk.app_id)
        return _emptied(core, desk, lanes, events)

    return {CompareUpstreams: compare, DropUpstream: drop, MoveUpstream: move}


def _desk(core: Core, app_id: str) -> Desk:
    desk = core.desks.get(app_id)
    if desk is None:
        raise RequestFault(f"there is no app {app_id!r}", field="app_id", status=404)
    return desk


async def _a_slice_at_a_time(slices: Iterator[int]) -> int:
    """Let others be served between two transactions."""
    done = 0
    for events in slices:
        done += events
        await asyncio.sleep(0)
    return done


def _emptied(core: Core, desk: Desk, lanes: Sequence[Lane], events: int) -> Emptied:
    desk.forgotten = forgotten_lanes(desk, core.outbox)
    for lane in lanes:
        core.board.unnote(f"upstream.forgotten.{desk.app_id}.{lane.way.name}")
    core.watchers.changed()
    left = sum(core.outbox.account(lane.stream).dead for lane in lanes)
    return Emptied(events=events, left=left)


def _forgotten(desk: Desk, name: str) -> list[Lane]:
    lanes = [lane for lane in desk.forgotten if name in (lane.way.upstream, lane.way.name)]
    if lanes:
        return lanes
    if any(name in (lane.way.upstream, lane.way.name) for lane in desk.lanes):
        raise RequestFault(
            f"homing.toml names the upstream {name} of {desk.app_id}",
            field="name",
            status=409,
            advice="Remove it there first, and start the agent again.",
        )
    raise RequestFault(
        f"nothing of {desk.app_id} waits for an upstream {name}", field="name", status=404
    )


def _heirs(desk: Desk, lanes: Sequence[Lane], to: str) -> list[Lane]:
    """Return the way of upstream ``to`` that has the language of each of these."""
    heirs = []
    for lane in lanes:
        language = lane.way.language
        mine = [one for one in desk.lanes if to in (one.way.upstream, one.way.name)]
        heir = next((one for one in mine if one.way.language == language), None)
        if not mine:
            raise RequestFault(f"{desk.app_id} has no upstream {to}", field="to", status=404)
        if heir is None:
            raise RequestFault(
                f"what waits for {lane.way.name} is in the words of {language.capitalize()}, which"
                f" {to} is not told as they are",
                field="to",
                status=409,
            )
        heirs.append(heir)
    return heirs


def comparison(desk: Desk, outbox: Outbox, days: int, now_ms: int) -> Comparison:
    """Return an app's upstreams side by side over the last ``days`` days that were counted.

    Those that the settings no longer name come last, as long as their days are kept.
    """
    declared = by_upstream(desk)
    lanes_of = declared | {n: lanes for n, lanes in behind(desk).items() if n not in declared}
    counted = {name: _days(lanes, outbox) for name, lanes in lanes_of.items()}
    lanes_of = {n: lanes for n, lanes in lanes_of.items() if n in declared or counted[n]}
    shown = sorted({day for one in counted.values() for day in one})[-days:]
    if len(lanes_of) < 2 or not shown:
        return Comparison(app_id=desk.app_id, since="")
    rows: list[UpstreamDay] = []
    sides: dict[str, Side] = {}
    busy = {
        day
        for name in declared
        for day, parts in counted[name].items()
        if sum(part.accepted for part in parts)
    }
    for name, lanes in lanes_of.items():
        of_name = _rows(name, lanes, counted[name], outbox)
        rows += [row for row in of_name if row.day in shown]
        sides[name] = _side(of_name, [day for day in shown if day in busy], lanes, outbox)
    compared = {name: sides[name] for name in declared}
    verdicts = {name: _verdict(name, compared, now_ms) for name in sides}
    return Comparison(
        app_id=desk.app_id,
        since=shown[0],
        days=tuple(sorted(rows, key=lambda row: row.day)),
        sums=tuple(
            UpstreamSum(
                upstream=name,
                accepted=side.accepted,
                confirmed=side.confirmed,
                dead=side.dead,
                lost=side.lost,
                waiting=side.waiting,
                safe=verdicts[name][0],
                why=verdicts[name][1],
            )
            for name, side in sides.items()
        ),
    )


def _verdict(name: str, compared: Mapping[str, Side], now_ms: int) -> tuple[bool, str]:
    if name not in compared:
        return False, f"homing.toml does not name {name} any more."
    if len(compared) == 1:
        return False, f"{name} is the only upstream now; the days are those of the dual run."
    return judge(compared, name, now_ms)


def _days(lanes: Sequence[Lane], outbox: Outbox) -> Mapping[str, list[Day]]:
    found: dict[str, list[Day]] = {}
    for lane in lanes:
        for day in outbox.days(lane.stream):
            found.setdefault(day.day, []).append(day)
    return found


def _rows(
    name: str, lanes: Sequence[Lane], counted: Mapping[str, list[Day]], outbox: Outbox
) -> list[UpstreamDay]:
    """Return every day of one upstream, oldest first, each with what waited when it ended."""
    waiting = sum(outbox.account(lane.stream).pending for lane in lanes)
    if not any(lane.stream in outbox.counting.streams for lane in lanes):  # what was left then
        waiting = max(
            0, sum(p.accepted - p.delivered - p.dead - p.lost for d in counted.values() for p in d)
        )
    rows = []
    for day in sorted(counted, reverse=True):
        parts = counted[day]
        accepted, confirmed = sum(p.accepted for p in parts), sum(p.delivered for p in parts)
        dead, lost = sum(p.dead for p in parts), sum(p.lost for p in parts)
        rows.append(
            UpstreamDay(
                day=day,
                upstream=name,
                accepted=accepted,
                confirmed=confirmed,
                dead=dead,
                lost=lost,
                waiting=max(0, waiting),
            )
        )
        waiting -= accepted - confirmed - dead - lost  # as it was when the day before ended
    return rows[::-1]


def _side(
    rows: Sequence[UpstreamDay], busy: Sequence[str], lanes: Sequence[Lane], outbox: Outbox
) -> Side:
    """Sum one upstream's rows up over the days on which anything was accepted by anyone."""
    mine = [row for row in rows if row.day in busy]
    pending = [outbox.pending(lane.stream) for lane in lanes]
    return Side(
        accepted=sum(row.accepted for row in mine),
        confirmed=sum(row.confirmed for row in mine),
        dead=sum(row.dead for row in mine),
        lost=sum(row.lost for row in mine),
        waiting=sum(one.events for one in pending),
        oldest_ms=min((p.oldest_ms for p in pending if p.oldest_ms is not None), default=None),
        days=len(mine),
        missing=len(busy) - len(mine),
    )
