"""What the window's panels show: outbox, connections, machine, live users, the ledger per app.

Like :mod:`ui.views`, which has the first page's head: pure functions of a snapshot and the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.door import AppStatus, LinkState, LinkStatus, LiveUser, Status
from ui.language import tr, trn
from ui.views import Row, Tone
from ui.words import (
    DAY,
    DOT,
    ago,
    byte_size,
    clock,
    count,
    duration,
    forecast,
    latency,
    moment,
    plain,
    short_count,
    system_name,
    until,
)

LINKS_SHOWN = 8
USERS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class OutboxView:
    waiting: str
    caption: str
    forecast: str
    fill: float  #: 0 to 1, of whichever bound is nearer.
    fill_text: str
    rows: tuple[Row, ...]
    tone: Tone


@dataclass(frozen=True, slots=True)
class LinkView:
    title: str
    state: LinkState
    state_text: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class UserRow:
    who: str
    system: str
    seen: str
    about: str


@dataclass(frozen=True, slots=True)
class UsersView:
    count: str
    caption: str
    rows: tuple[UserRow, ...]
    empty: str


@dataclass(frozen=True, slots=True)
class AppRow:
    """One line of the ledger."""

    name: str
    cells: tuple[str, ...]  #: As in :func:`app_columns`, after the name.
    tone: Tone
    about: str


def outbox(status: Status | None, now_ms: int) -> OutboxView:
    """Say how much waits, since when, and where it is going."""
    if status is None:
        return OutboxView("–", "", "", 0.0, "", (), "muted")
    depth = status.depth
    parts = [
        part / bound
        for part, bound in ((depth.events, depth.max_events), (depth.bytes, depth.max_bytes))
        if bound > 0
    ]
    fill = min(1.0, max(0.0, *parts, 0.0)) if parts else 0.0
    rows = [Row(tr("On disk"), byte_size(depth.bytes))]
    if depth.oldest_ms:
        rows.append(
            Row(tr("Oldest"), ago(depth.oldest_ms, now_ms), about=moment(depth.oldest_ms, now_ms))
        )
    if depth.dead:
        rows.append(
            Row(
                tr("Refused for good"),
                short_count(depth.dead),
                "bad",
                tr("Dead letters: kept until somebody looks. See `homing outbox`."),
            )
        )
    filling = depth.full_in_s is not None and depth.full_in_s < DAY
    return OutboxView(
        waiting=count(depth.events) if depth.events < 10_000_000 else short_count(depth.events),
        caption=trn("event waiting", "events waiting", depth.events),
        forecast=forecast(depth.events, depth.full_in_s, depth.drained_in_s),
        fill=fill,
        fill_text=tr(
            "{percent} % of what it may hold: {events} events, {size}",
            percent=f"{fill * 100:.0f}",
            events=short_count(depth.max_events),
            size=byte_size(depth.max_bytes),
        )
        if parts
        else "",
        rows=tuple(rows),
        tone="bad" if filling or fill > 0.8 else "plain",
    )


_LINK_ORDER: dict[LinkState, int] = {"parked": 0, "waiting": 1, "dialing": 2, "idle": 3, "live": 4}


def links(status: Status | None, now_ms: int) -> tuple[LinkView, ...]:
    """Describe each connection, worst first."""
    if status is None:
        return ()
    worst_first = sorted(status.links, key=lambda link: _LINK_ORDER.get(link.state, 0))
    return tuple(_link(link, status, now_ms) for link in worst_first[:LINKS_SHOWN])


def _link(link: LinkStatus, status: Status, now_ms: int) -> LinkView:
    several = sum(other.app_id == link.app_id for other in status.links) > 1
    far_end = f"{link.upstream}: {link.endpoint}" if several and link.upstream else link.endpoint
    rows = [
        Row(tr("Upstream"), plain(far_end, 200), about=plain(link.kind)),
        Row(
            tr("State"),
            f"{link_state(link.state)}, {duration((now_ms - link.since_ms) / 1000)}"
            if link.since_ms
            else link_state(link.state),
            "good" if link.state == "live" else "bad" if link.state == "parked" else "plain",
        ),
    ]
    if link.reason and link.state != "live":
        rows.append(Row(tr("Reason"), plain(link.reason, 200), about=plain(link.code)))
    if link.note:
        rows.append(Row(tr("Note"), plain(link.note, 200)))
    if link.state == "waiting" and link.next_try_ms is not None:
        rows.append(Row(tr("Next try"), until(link.next_try_ms, now_ms)))
    rows += [
        Row(
            tr("Latency"),
            latency(link.latency_ms),
            about=tr("From sending the last batch to its acknowledgement"),
        ),
        Row(tr("Last answer"), ago(link.last_ack_ms, now_ms)),
        *(
            [Row(tr("Compared"), plain(link.confirmed, 200), about=tr("Once a day, both ends"))]
            if link.confirmed
            else []
        ),
        Row(
            tr("Traffic"),
            tr(
                "{sent} out, {received} in",
                sent=byte_size(link.sent_bytes),
                received=byte_size(link.received_bytes),
            ),
            about=trn(
                "{n} connection attempt", "{n} connection attempts", link.dials, n=count(link.dials)
            ),
        ),
    ]
    if several:
        rows.append(Row(tr("Waiting"), count(link.pending)))
    if link.in_flight:
        rows.append(Row(tr("In flight"), count(link.in_flight)))
    return LinkView(app_name(status, link.app_id), link.state, link_state(link.state), tuple(rows))


def link_state(state: LinkState) -> str:
    """Name the state of one connection."""
    match state:
        case "idle":
            return tr("Idle")
        case "dialing":
            return tr("Connecting")
        case "live":
            return tr("Connected")
        case "waiting":
            return tr("Waiting")
        case "parked":
            return tr("Stopped")


def machine(status: Status | None, now_ms: int) -> tuple[Row, ...]:
    """List the slow truths about this computer, and about the agent itself."""
    if status is None:
        return ()
    rows: list[Row] = []
    facts = status.facts
    if facts is not None:
        system = system_name(facts.platform, facts.os_version)
        rows += [
            Row(tr("System"), system),
            Row(tr("Memory"), tr("{n} GB", n=facts.total_ram), about=tr("As the init event says")),
            Row(tr("Processor"), plain(facts.arch)),
            Row(tr("Language"), plain(facts.language)),
        ]
        if facts.device_id:
            rows.append(
                Row(
                    tr("Device id"),
                    plain(facts.device_id),
                    about=tr("Of the first app; every app has its own, made with a secret key"),
                )
            )
        if facts.key_kept_in:
            careful: Tone = "plain" if facts.key_kept_in == "keyring" else "bad"
            rows.append(Row(tr("Its key is in"), plain(facts.key_kept_in), careful))
    rows += [
        Row(
            tr("Agent"),
            tr("{version}, process {pid}", version=plain(status.version), pid=status.pid),
        ),
        Row(
            tr("Running for"),
            duration((now_ms - status.started_ms) / 1000),
            about=moment(status.started_ms, now_ms),
        ),
    ]
    if status.address:
        rows.append(Row(tr("Listens at"), plain(status.address, 200)))
    return tuple(rows)


def users(status: Status | None, now_ms: int) -> UsersView:
    """List who is there now, the latest first."""
    if status is None or status.live_count is None:
        return UsersView("–", "", (), tr("The far end does not tell who is there."))
    latest = sorted(status.live_users, key=lambda user: -user.last_seen_ms)[:USERS_SHOWN]
    hidden = status.live_count - len(latest)
    return UsersView(
        count=count(status.live_count),
        caption=trn("and {n} more", "and {n} more", hidden, n=count(hidden)) if hidden > 0 else "",
        rows=tuple(_user(user, now_ms) for user in latest),
        empty=tr("Nobody at the moment."),
    )


def _user(user: LiveUser, now_ms: int) -> UserRow:
    system = system_name(user.platform, user.os_version)
    where = plain(user.country)
    return UserRow(
        who=plain(user.user_id or user.device_id) or tr("unknown"),
        system=f" {DOT} ".join(part for part in (system, where) if part),
        seen=ago(user.last_seen_ms, now_ms),
        about=tr("device {id}", id=plain(user.device_id)),
    )


def app_columns() -> tuple[str, ...]:
    """Name the ledger's columns: accepted = delivered + pending + dead + lost."""
    return (
        tr("App"),
        tr("Accepted"),
        tr("Delivered"),
        tr("Waiting"),
        tr("Refused"),
        tr("Lost"),
        tr("Reporting"),
    )


def apps(status: Status | None) -> tuple[AppRow, ...]:
    """Return the ledger, app by app."""
    return () if status is None else tuple(_app(app) for app in status.apps)


def _app(app: AppStatus) -> AppRow:
    lost = sum(app.lost.values())
    reasons = ", ".join(f"{plain(why)} {count(n)}" for why, n in app.lost.items() if n)
    about = [f"{plain(app.name)} ({plain(app.app_id)})", consent_words(app)]
    if reasons:
        about.append(tr("lost: {reasons}", reasons=reasons))
    if app.repeats:
        about.append(
            trn(
                "{n} repeat recognised", "{n} repeats recognised", app.repeats, n=count(app.repeats)
            )
        )
    if app.refused:
        about.append(
            trn(
                "{n} bad event answered with an error",
                "{n} bad events answered with an error",
                app.refused,
                n=count(app.refused),
            )
        )
    if app.knocks:
        about.append(trn("knocked {n} time", "knocked {n} times", app.knocks, n=count(app.knocks)))
    if app.dropped:
        about.append(
            trn("{n} event dropped", "{n} events dropped", app.dropped, n=count(app.dropped))
        )
    if not app.balanced:
        about.append(tr("the ledger does not balance: see `homing doctor`"))
    bad = bool(lost or app.dead or not app.balanced)
    cells = (app.accepted, app.delivered, app.pending, app.dead, lost)
    return AppRow(
        name=plain(app.name) or plain(app.app_id),
        cells=(*(count(n) for n in cells), consent_name(app)),
        tone="bad" if bad else "muted" if app.consent != "allowed" else "plain",
        about=f" {DOT} ".join(about),
    )


def consent_name(app: AppStatus) -> str:
    """Name an app's consent in one word."""
    match app.consent:
        case "allowed":
            return tr("Allowed")
        case "pending":
            return tr("Not asked yet")
        case "denied":
            return tr("Denied")
        case "paused":
            return tr("Paused")


def consent_words(app: AppStatus) -> str:
    """Say whether an app may report, and who said so."""
    if app.consent == "pending":
        return tr("Waits for an answer")
    said = tr("{consent} by {origin}", consent=consent_name(app), origin=plain(app.consent_from))
    if app.consent_until_ms is not None:
        said = tr("{said} until {clock}", said=said, clock=clock(app.consent_until_ms))
    return f"{said} ({plain(app.consent_reason)})" if app.consent_reason else said


def app_name(status: Status | None, app_id: str) -> str:
    """Return an app's name as a person knows it."""
    for app in status.apps if status else ():
        if app.app_id == app_id and app.name:
            return plain(app.name)
    return plain(app_id)
