"""How things are, in one sentence: state, reason, since when, next step [R7].

Pure: everything that is known comes in, one :class:`Words` goes out. Worst news first, and one
cause only. A cause hides what follows from it:

    an error that stops the agent itself (disk full, keyring locked …)
      hides  a pause: nothing is being sent, and somebody wanted that
        hides  a far end that refuses us, or does not prove who it is: a person must act
          hides  no far end at all
            hides  no road to it: we try again by ourselves
              hides  connecting, connected

So a paused agent does not also complain that it is offline, and five apps behind one dead
router are one cause, told once. Where an app has several upstreams, the one that the sentence is
about is named, and the others are counted: one that is down does not hide that the rest is well.
Debouncing is the window's business: this rule has no memory.

Inputs are shapes (:class:`Road`, :class:`Halt`, :class:`Remark`), so that the door's own
``LinkStatus``, ``Pause`` and ``Notice`` fit as they are and the rules need not know the door.
``since_ms`` of a road that is being dialled or waited for is when the outage began, not when
the last attempt did; otherwise "Offline 12 min" would say 3 s for ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import tzinfo
from typing import Literal, Protocol

import msgspec

from agent.rules.ways import BUCKET_WAY
from agent.rules.wording import count, events, moment, sentence_end, span, visible

#: What a person must see to, although it is asked again by itself.
FOR_A_PERSON = frozenset(("link.unproven", "link.portal"))

Mood = Literal["live", "offline", "paused", "attention"]


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence and its parts; field for field what the door calls ``Sentence``."""

    state: Mood
    text: str
    code: str = ""
    reason: str = ""
    since_ms: int = 0
    next_step: str = ""


class Road(Protocol):
    """One app's way to one far end, as ``agent.door.LinkStatus`` tells it."""

    @property
    def app_id(self) -> str: ...
    @property
    def state(self) -> Literal["idle", "dialing", "live", "waiting", "parked"]: ...
    @property
    def since_ms(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def next_try_ms(self) -> int | None: ...
    @property
    def kind(self) -> str: ...
    @property
    def upstream(self) -> str: ...


class Halt(Protocol):
    """A pause, as ``agent.door.Pause`` tells it."""

    @property
    def reason(self) -> str: ...
    @property
    def since_ms(self) -> int: ...
    @property
    def until_ms(self) -> int | None: ...


class Remark(Protocol):
    """Something a person should know, as ``agent.door.Notice`` tells it."""

    @property
    def code(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def severity(self) -> Literal["info", "warning", "error"]: ...
    @property
    def since_ms(self) -> int: ...


def sentence(
    roads: Sequence[Road],
    *,
    pending: int,
    delivered_today: int,
    now_ms: int,
    zone: tzinfo,
    halt: Halt | None = None,
    remarks: Sequence[Remark] = (),
    keeping: Literal["off", "offered", "starting", "running", "failed"] = "off",
    dead: int = 0,
) -> Words:
    """Say how things are.

    Args:
        roads: Every connection that the settings ask for.
        pending: Events accepted and not yet delivered: "safe".
        delivered_today: Events delivered since local midnight.
        now_ms: Now, Unix milliseconds.
        zone: The person's time zone, for "until 15:00".
        halt: The pause in force, if any.
        remarks: The notices in force. One of severity ``error`` outranks everything.
        keeping: State of the embedded far end on this computer.
        dead: Dead letters that wait for a person.

    """
    kept = f"{events(pending)} safe." if pending else ""
    errors = [remark for remark in remarks if remark.severity == "error"]
    if errors:
        return _error(min(errors, key=lambda remark: remark.since_ms), kept)
    if halt is not None:
        return _paused(halt, kept, now_ms, zone)
    roads = [road for road in roads if not _unused(road)] or list(roads)
    parked = [road for road in roads if road.state == "parked" or road.code in FOR_A_PERSON]
    if parked:
        return _parked(parked, roads, kept)
    if not roads:
        return _nowhere(keeping, remarks, kept)
    lost = [road for road in roads if road.state != "live" and road.code]
    if lost:
        return _offline(lost, roads, kept, now_ms)
    opening = [road for road in roads if road.state != "live" and not _unused(road)]
    if opening:
        since_ms = min(road.since_ms for road in opening)
        return Words(
            state="offline",
            text=_join("Connecting to the far end.", kept),
            since_ms=since_ms,
            next_step="Wait a moment.",
        )
    return _connected(roads, pending, delivered_today, dead, remarks)


def _error(remark: Remark, kept: str) -> Words:
    reason = visible(remark.text)
    return Words(
        state="attention",
        text=_join(sentence_end(reason[:1].upper() + reason[1:]), kept),
        code=remark.code,
        reason=reason,
        since_ms=remark.since_ms,
        next_step="Run `homing doctor` for the evidence and the repair.",
    )


def _paused(halt: Halt, kept: str, now_ms: int, zone: tzinfo) -> Words:
    reason = visible(halt.reason)
    because = f" ({reason})" if reason else ""
    if halt.until_ms is None:
        end, step = "until you resume", "Resume when you want to send again."
    else:
        end = f"until {moment(halt.until_ms, now_ms, zone)}"
        step = "It resumes by itself; Resume ends it now."
    return Words(
        state="paused",
        text=_join(f"Sending paused {end}{because}.", kept),
        code="paused",
        reason=reason,
        since_ms=halt.since_ms,
        next_step=step,
    )


def _over_http(road: Road) -> bool:
    """Tell whether Bucket is spoken there: with a key, and over HTTP."""
    return road.kind.startswith("bucket") or road.upstream.endswith(BUCKET_WAY)


def _unused(road: Road) -> bool:
    """Tell whether a way had nothing to send yet: over HTTP there is no connection until then."""
    return _over_http(road) and road.state == "idle" and not road.code


def _at(road: Road, roads: Sequence[Road]) -> str:
    """Name the upstream that is meant, where its app has others too."""
    of_app = {other.upstream for other in roads if other.app_id == road.app_id}
    return f" at {visible(road.upstream, 40)}" if len(of_app) > 1 and road.upstream else ""


def _well(roads: Sequence[Road]) -> str:
    """Count the connections that are as they should be; nothing if none is, or there is one."""
    live = sum(road.state == "live" for road in roads)
    return f"{live} of {len(roads)} connected." if live else ""


def key_command(road: Road) -> str:
    """Return the command that gives an upstream its key; empty if it needs none."""
    if not _over_http(road):
        return ""
    name = road.upstream.removesuffix(BUCKET_WAY)
    return f"homing upstreams key {visible(road.app_id, 80)} {visible(name, 80)}"


def _parked(roads: Sequence[Road], all_roads: Sequence[Road], kept: str) -> Words:
    worst = min(roads, key=lambda road: road.since_ms)
    down = [road for road in all_roads if road in roads or (road.code and road.state != "live")]
    at = _at(worst, all_roads)
    reason = visible(worst.reason) or "no reason was given"
    if worst.code == "link.portal":
        head, step = f"Sign-in needed: {reason}", "Open any page in a browser, and sign in."
    elif worst.code == "link.proxy_login":
        head, step = f"Not sent: {reason}", "Run `homing network proxy-login`."
    elif worst.code == "link.unproven":
        head = f"Not sent{at}: the far end did not prove who it is ({reason.rstrip('.')})."
        step = "Check the address and its certificate."
    elif worst.code == "secret.key":
        head, step = f"Not sent{at}: {reason}", f"Run `{key_command(worst)}`."
    elif worst.code == "secret":
        head, step = f"Waiting for your keyring{at}: {reason}", "Unlock it, then Retry."
    elif worst.code.startswith("link.refused"):
        head, step = f"Refused{at}: {reason}", "Check the app id, then Retry."
        if key := key_command(worst):
            step = f"Check its address and its key (`{key}`), then Retry."
    else:
        head, step = f"Stopped{at}: {reason}", "Put that right, then Retry."
    return Words(
        state="attention",
        text=_join(
            sentence_end(head), _well(all_roads) if at else "", _others(down, worst), kept, step
        ),
        code=worst.code,
        reason=reason,
        since_ms=worst.since_ms,
        next_step=step,
    )


def _nowhere(keeping: str, remarks: Sequence[Remark], kept: str) -> Words:
    for remark in remarks:
        if remark.code == "do_not_track":
            return Words(
                state="attention",
                text=_join(sentence_end(visible(remark.text)), kept),
                code=remark.code,
                reason=visible(remark.text),
                since_ms=remark.since_ms,
                next_step="Unset DO_NOT_TRACK and start the agent again, if you want to report.",
            )
    match keeping:
        case "starting" | "running":
            return Words(
                state="offline",
                text=_join("Starting the far end on this computer.", kept),
                code="keeping.starting",
                next_step="Wait a moment.",
            )
        case "failed":
            told = [remark for remark in remarks if remark.code.startswith("keeping")]
            reason = visible(told[0].text) if told else "it stopped again and again"
            head = f"The far end on this computer does not run: {reason}"
            return Words(
                state="attention",
                text=_join(sentence_end(head), kept, "Run `homing doctor`."),
                code="keeping.failed",
                reason=reason,
                since_ms=told[0].since_ms if told else 0,
                next_step="Run `homing doctor`.",
            )
    step = "Keep it on this computer, or name one in homing.toml."
    return Words(
        state="attention",
        text=_join("No far end yet.", kept, step),
        code="no_far_end",
        next_step=step,
    )


def _offline(lost: Sequence[Road], all_roads: Sequence[Road], kept: str, now_ms: int) -> Words:
    worst = min(lost, key=lambda road: road.since_ms)
    at = _at(worst, all_roads)
    since = span((now_ms - worst.since_ms) / 1000)
    reason = visible(worst.reason) or "no road to the far end"
    tries = [road.next_try_ms for road in lost if road.next_try_ms is not None]
    if any(road.state == "dialing" for road in lost) or not tries:
        step = "Trying now."
    else:
        wait_s = (min(tries) - now_ms) / 1000
        step = f"Next try in {span(math.ceil(wait_s))}." if wait_s > 0 else "Trying now."
    if worst.code == "link.throttled":
        head = f"Held back by the far end{at} for {since}: {reason}"
    else:
        head = f"Offline{at} for {since}: {reason}" if at else f"Offline {since}: {reason}"
    partly = ""
    if len(lost) != len(all_roads):
        partly = f"{len(lost)} of {len(all_roads)} connections."
    if at:
        partly = _well(all_roads)
    return Words(
        state="offline",
        text=_join(sentence_end(head), partly, _others(lost, worst), kept, step),
        code=worst.code,
        reason=reason,
        since_ms=worst.since_ms,
        next_step=step,
    )


def _connected(
    roads: Sequence[Road],
    pending: int,
    delivered_today: int,
    dead: int,
    remarks: Sequence[Remark],
) -> Words:
    since_ms = max(road.since_ms for road in roads)
    head = "Ready." if all(_unused(road) for road in roads) else "Connected."
    told = f"{count(delivered_today)} delivered today"
    moving = f", {count(pending)} on the way" if pending else ""
    warned = next((remark for remark in remarks if remark.severity == "warning"), None)
    notes, step, code = "", "", ""
    if dead:
        notes = f"{events(dead)} refused for good."
        code, step = "dead_letters", "See `homing outbox list --dead`."
    if warned is not None:
        notes, code = sentence_end(visible(warned.text)), warned.code
        step = "Run `homing doctor`."
    return Words(
        state="live",
        text=_join(head, f"{told}{moving}.", notes),
        code=code,
        since_ms=since_ms,
        next_step=step,
    )


def _others(roads: Sequence[Road], worst: Road) -> str:
    """Name how many roads have another cause than the one that is told; none if none."""
    apart = sum((road.code, road.reason) != (worst.code, worst.reason) for road in roads)
    if not apart:
        return ""
    return f"{apart} more {'has' if apart == 1 else 'have'} another cause."


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
