"""The snapshot: everything a person may want to know of the running agent, in one value.

Built on demand from what the core holds; reads no disk and no network. The far end's own view
(users, installs, who is live) is fetched by :mod:`agent.runtime.farsight` and only shown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

import msgspec

from agent.adapters.outbox.outbox import Outbox, Pending
from agent.door import (
    AppStatus,
    Depth,
    Facts,
    Glance,
    Keeping,
    LinkStatus,
    LiveUser,
    Notice,
    Passing,
    Pause,
    Sentence,
    Status,
    UpstreamStatus,
)
from agent.rules.consent import Consent
from agent.rules.knocks import Knocker
from agent.rules.ledger import Account, summed
from agent.rules.sentence import sentence
from agent.rules.stamp import MachineFacts
from agent.rules.stillness import stillness
from agent.runtime.counter.desk import Desk, Lane
from agent.runtime.counter.profile import Today
from agent.runtime.counter.totals import by_upstream, shown
from agent.runtime.counter.unspoken import notices_of
from agent.runtime.counts import Counts
from agent.runtime.people.consents import Consents
from agent.runtime.ways.leaving import Leaving
from tracking.errors import StorageFault

DAY_MS = 86_400_000
CLIPPED_PAYLOAD = 500  #: Characters of a payload shown in a list.


@dataclass(slots=True)
class Board:
    """Facts of the whole agent that the status shows and nobody else owns."""

    version: str
    pid: int
    started_ms: int
    address: str
    settings_file: str
    max_events: int
    max_bytes: int
    zone: tzinfo
    facts: Facts | None = None
    pause: Pause | None = None
    keeping: Keeping = "off"
    notices: dict[str, Notice] = field(default_factory=dict)
    glance: Glance | None = None
    live_count: int | None = None
    live_users: tuple[LiveUser, ...] = ()
    default_app: str | None = None
    strangers_go_to: str = ""
    delivered_today: int = 0
    today: str = ""
    recalled: set[str] = field(default_factory=set)

    def note(self, notice: Notice) -> None:
        """Show a notice until it is taken back; a repeated one keeps its first time."""
        known = self.notices.get(notice.code)
        if known is not None:
            notice = msgspec.structs.replace(notice, since_ms=known.since_ms)
        self.notices[notice.code] = notice

    def unnote(self, code: str) -> None:
        self.notices.pop(code, None)

    def day(self, now_ms: int) -> str:
        """Name the person's day: ``2026-11-21``."""
        return datetime.fromtimestamp(now_ms / 1000, self.zone).date().isoformat()

    def delivered(self, count: int, now_ms: int) -> None:
        """Count deliveries of the local day."""
        day = self.day(now_ms)
        if day != self.today:
            self.today, self.delivered_today = day, 0
        self.delivered_today += count

    def recall(self, app_id: str, today: Today, delivered: int, now_ms: int) -> None:
        """Count what an app delivered today before this start of the agent, once."""
        if app_id not in self.recalled and today.day == self.day(now_ms):
            self.delivered(max(0, delivered - today.before), now_ms)
        self.recalled.add(app_id)


def snapshot(
    board: Board,
    desks: Mapping[str, Desk],
    ways: Iterable[Leaving],
    outbox: Outbox,
    counts: Counts,
    consents: Consents,
    now_ms: int,
    now_s: float,
) -> Status:
    """Build the status as it is at ``now_ms``."""
    asking = consents.asking()
    apps = (
        *(_app(desk, outbox, consents, asking, now_s) for desk in desks.values()),
        *(
            _knocker(knocker, consents, asking)
            for app_id, knocker in consents.knocks.by_app.items()
            if app_id not in desks
        ),
    )
    pending = sum(app.pending for app in apps)
    dead = sum(app.dead for app in apps)
    board.delivered(0, now_ms)
    links = tuple(_link(way, outbox, now_ms, now_s) for way in ways)
    held = sum(upstream.pending for app in apps for upstream in app.upstreams)
    full_in_s, drained_in_s = counts.forecast(now_ms, events=held, max_events=board.max_events)
    oldest = [app.oldest_pending_ms for app in apps if app.oldest_pending_ms is not None]
    notices = (*board.notices.values(), *notices_of(desks.values()))
    still = None
    if not any(notice.severity == "error" for notice in notices):
        still = stillness(
            consents.every_app(),
            [desk.consent.value for desk in desks.values()],
            pending=pending,
            now_ms=now_ms,
            zone=board.zone,
        )
    words = still or sentence(
        links,
        pending=pending,
        delivered_today=board.delivered_today,
        now_ms=now_ms,
        zone=board.zone,
        halt=board.pause,
        remarks=notices,
        keeping=board.keeping,
        dead=dead,
    )
    return Status(
        at_ms=now_ms,
        version=board.version,
        pid=board.pid,
        started_ms=board.started_ms,
        sentence=Sentence(
            state=words.state,
            text=words.text,
            code=words.code,
            reason=words.reason,
            since_ms=words.since_ms,
            next_step=words.next_step,
        ),
        links=links,
        apps=apps,
        depth=Depth(
            events=held,
            bytes=sum(app.pending_bytes for app in apps),
            max_events=board.max_events,
            max_bytes=board.max_bytes,
            oldest_ms=min(oldest, default=None),
            dead=dead,
            full_in_s=full_in_s,
            drained_in_s=drained_in_s,
        ),
        minutes=counts.minutes(now_ms),
        glance=board.glance,
        live_count=board.live_count,
        live_users=board.live_users,
        facts=_facts(board, desks.values()),
        pause=board.pause,
        every_app=consents.every_app(),
        notices=notices,
        keeping=board.keeping,
        strangers_go_to=board.strangers_go_to,
        default_app=board.default_app,
        address=board.address,
        settings_file=board.settings_file,
    )


def _knocker(knocker: Knocker, consents: Consents, asking: Sequence[str]) -> AppStatus:
    """Return an app of which nothing is known but that it knocks."""
    ruling = consents.ruling(knocker.app_id)
    return AppStatus(
        app_id=knocker.app_id,
        name=knocker.app_id,
        consent=ruling.consent.value,
        consent_from=ruling.source,
        consent_reason=ruling.reason,
        consent_since_ms=ruling.since_ms,
        asking=knocker.app_id in asking,
        knocks=knocker.times,
        offered=knocker.offered,
        executable=knocker.executable,
        pid=knocker.pid,
        first_knock_ms=knocker.first_ms,
    )


def _app(
    desk: Desk, outbox: Outbox, consents: Consents, asking: Sequence[str], now_s: float
) -> AppStatus:
    knocker = consents.knocks.by_app.get(desk.app_id)
    base = AppStatus(
        app_id=desk.app_id,
        name=desk.name,
        consent=desk.consent.value,
        consent_from=desk.consent_from,
        consent_reason=desk.consent_reason,
        consent_since_ms=desk.consent_since_ms,
        consent_until_ms=desk.consent_until_ms,
        knocks=0 if knocker is None else knocker.times,
        offered=0 if knocker is None else knocker.offered,
        executable="" if knocker is None else knocker.executable,
        pid=0 if knocker is None else knocker.pid,
        first_knock_ms=None if knocker is None else knocker.first_ms,
        asking=desk.app_id in asking,
        dropped=desk.dropped,
        repeats=desk.repeats,
        refused=desk.refused,
        over_quota=desk.bucket.refused,
        events_per_s=round(desk.bucket.asked_per_s(now_s), 1),
        allowed_per_s=desk.bucket.rate_per_s,
        marks=desk.marks,
    )
    if not desk.lanes:
        return base
    account = shown(outbox, desk)
    upstreams = tuple(
        [_upstream(name, lanes, outbox) for name, lanes in by_upstream(desk).items()]
        + [_upstream(lane.way.name, [lane], outbox, declared=False) for lane in desk.forgotten]
    )
    oldest = [one.oldest_pending_ms for one in upstreams if one.oldest_pending_ms is not None]
    return msgspec.structs.replace(
        base,
        accepted=account.accepted,
        delivered=account.delivered,
        pending=account.pending,
        dead=account.dead,
        lost=_lost(account),
        balanced=account.balanced and all(one.balanced for one in upstreams),
        pending_bytes=sum(one.pending_bytes for one in upstreams),
        oldest_pending_ms=min(oldest, default=None),
        upstreams=upstreams,
    )


def _upstream(
    name: str, lanes: Sequence[Lane], outbox: Outbox, *, declared: bool = True
) -> UpstreamStatus:
    accounts = [outbox.account(lane.stream) for lane in lanes]
    account = summed(accounts)
    waiting = [_pending(lane, outbox) for lane in lanes]
    oldest = [one.oldest_ms for one in waiting if one.oldest_ms is not None]
    return UpstreamStatus(
        name=name,
        kind=lanes[0].way.kind,
        accepted=account.accepted,
        delivered=account.delivered,
        pending=account.pending,
        dead=account.dead,
        lost=_lost(account),
        balanced=all(one.balanced for one in accounts),
        pending_bytes=sum(one.bytes for one in waiting),
        oldest_pending_ms=min(oldest, default=None),
        declared=declared,
    )


def _pending(lane: Lane, outbox: Outbox) -> Pending:
    try:
        return outbox.pending(lane.stream)
    except StorageFault:  # the ledger is in memory; how old the oldest row is, only the disk knows
        return Pending(outbox.account(lane.stream).pending)


def _lost(account: Account) -> dict[str, int]:
    return {reason.value: count for reason, count in account.lost.items() if count}


def _link(way: Leaving, outbox: Outbox, now_ms: int, now_s: float) -> LinkStatus:
    pending = outbox.account(way.stream).pending
    return msgspec.structs.replace(way.status(now_ms, now_s), pending=pending)


def facts_of(machine: MachineFacts) -> Facts:
    """Return what the status tells of this computer."""
    return Facts(
        platform=machine.platform,
        os_version=machine.os_version,
        total_ram=machine.total_ram,
        language=machine.language,
        arch=machine.arch,
    )


def _facts(board: Board, desks: Iterable[Desk]) -> Facts | None:
    if board.facts is None:
        return None
    made = (desk.profile.identity for desk in desks if desk.consent is Consent.ALLOWED)
    first = next((identity.device_id for identity in made if identity is not None), "")
    return msgspec.structs.replace(board.facts, device_id=first)


class _Told(msgspec.Struct, frozen=True):
    """The parts of a stored event that a list shows; of a Bucket call they are in ``call``."""

    id: str = ""
    type: str = ""
    name: str | None = None
    userId: str | None = None  # noqa: N815 - the wire's own word
    payload: msgspec.Raw = msgspec.Raw(b"")
    call: msgspec.Raw = msgspec.Raw(b"")


class _Call(msgspec.Struct, frozen=True):
    """The same of a Bucket call, whose ids may be numbers."""

    event: object = None
    userId: object = None  # noqa: N815 - the wire's own word
    attributes: msgspec.Raw = msgspec.Raw(b"")


_told = msgspec.json.Decoder(_Told)
_call = msgspec.json.Decoder(_Call)


def passing(
    rows: Sequence[tuple[int, str, bytes]],
    marks_of: Callable[[str, bytes], tuple[str, ...]] = lambda *_: (),
) -> tuple[Passing, ...]:
    """Turn accepted wire events into what a list shows.

    Args:
        rows: When, whose, and the event as it is stored.
        marks_of: What is out of the usual in one (:mod:`agent.runtime.counter.linting`).

    """
    shown = []
    for at_ms, app_id, body in rows:
        told = _told.decode(body)
        name, user_id, said = told.name, told.userId, told.payload
        if told.call:
            call = _call.decode(told.call)
            name = None if call.event is None else str(call.event)
            user_id = None if call.userId is None else str(call.userId)
            said = call.attributes
        payload = bytes(said).decode("utf-8", "replace")
        if len(payload) > CLIPPED_PAYLOAD:
            payload = payload[: CLIPPED_PAYLOAD - 1] + "…"
        shown.append(
            Passing(
                at_ms=at_ms,
                app_id=app_id,
                id=told.id,
                type=told.type,
                name=name,
                user_id=user_id,
                size=len(body),
                payload=payload,
                marks=marks_of(app_id, body),
            )
        )
    return tuple(shown)


def local_glance(tallies: Callable[[int, int], Mapping[str, int]], now_ms: int) -> Glance:
    """Return the last 24 hours against the 24 before from this computer's own tallies.

    Args:
        tallies: Counts per kind accepted between two times, Unix milliseconds.
        now_ms: Now.

    """
    now = tallies(now_ms - DAY_MS, now_ms)
    before = tallies(now_ms - 2 * DAY_MS, now_ms - DAY_MS)
    return Glance(
        source="this computer",
        at_ms=now_ms,
        app_starts=now.get("init", 0),
        previous_app_starts=before.get("init", 0),
        errors=now.get("error", 0),
        previous_errors=before.get("error", 0),
        events=now.get("event", 0),
        previous_events=before.get("event", 0),
    )
