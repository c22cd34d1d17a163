"""Once a day, and whenever a person asks: does the far end have what it confirmed?

    ours ──► asked ──► ours again ──► compared (agent.rules.reconciling) ──► kept, shown, noted

No timer of its own: a heartbeat that is due anyway looks whether a day has passed. What was found
last is kept in a file, so that a restart neither forgets a finding nor asks again at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.adapters.links.data_api import Reckoning
from agent.adapters.machine.private_files import read_private, write_private
from agent.adapters.outbox.reckoning import KEPT_DAYS, MOST_DEVICES, OTHERS
from agent.door import Status
from agent.door.reconciliation import (
    DifferentHour,
    ReadReconciliation,
    Reconcile,
    Reconciled,
    Reconciliations,
)
from agent.rules.reconciling import Held, Key, Outcome, compare, first_hour, lines, sentence
from agent.rules.ways import ONLY
from agent.runtime.off_loop import off_loop
from agent.runtime.ways.far_ends import Place
from tracking.dates import parse_ms
from tracking.errors import Fault, Refused, RequestFault, SecretFault
from tracking.reckoning import HOUR_MS

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core

log = logging.getLogger("agent.reconciliation")

DAY_MS = 86_400_000
SPREAD_MS = 2 * 3_600_000  #: A fleet does not ask at one moment.
AFTER_FAULT_MS = 3_600_000
SLACK_MS = DAY_MS  #: Of a collector's retention, which works once a day.
MISSING = "The far end of {app} confirmed events that it does not have. {text} `homing reconcile`"


class Kept(msgspec.Struct, kw_only=True):
    """What outlives the program."""

    next_ms: int = 0
    ways: list[Reconciled] = msgspec.field(default_factory=list)


class Reconciling:
    """Compares every way out that ends at a Homing collector.

    Args:
        core: Outbox, far ends, clocks, notices.
        file: What was found last.

    """

    def __init__(self, core: Core, file: Path) -> None:
        self.core = core
        self.file = file
        self.kept = Kept()
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    def open(self) -> None:
        """Recall what was found, and count what can be compared from now on."""
        try:
            raw = read_private(self.file)
            self.kept = msgspec.json.decode(raw, type=Kept) if raw else Kept()
        except (Fault, msgspec.MsgspecError):
            log.info("what was found last cannot be read, it is compared anew")
        if not self.kept.next_ms:
            self._later(self.core.means.rng() * SPREAD_MS + DAY_MS)
        self.count()
        for one in self.kept.ways:
            self._note(one)

    def count(self) -> None:
        """Sum up what is confirmed of the queues that end where it can be compared."""
        streams = [place.stream for place in self._places(None) if place.stream is not None]
        try:
            self.core.outbox.reckon(streams, self.core.means.wall_ms())
        except Fault as fault:
            log.warning("could not begin to sum up what is confirmed code=%s", fault.code)

    def beat(self) -> None:
        """Hear that a heartbeat was given: the agent is awake, and the far end is there."""
        self.count()
        if self._task is None and self.core.means.wall_ms() >= self.kept.next_ms:
            self._task = self.core.run(self._daily())

    def forget(self, apps: Iterable[str]) -> None:
        """Forget what was found of apps whose data was deleted."""
        gone = frozenset(apps)
        theirs = [one for one in self.kept.ways if one.app_id in gone]
        if theirs:
            for one in theirs:
                self.core.unnote(_code(one))
            self.kept.ways = [one for one in self.kept.ways if one.app_id not in gone]
            self._write()

    def found(self, app_id: str, upstream: str) -> str:
        """Return the sentence about a way out, empty if it was never compared."""
        name = "" if upstream == ONLY else upstream
        ways = (
            w
            for w in self.kept.ways
            if (w.app_id, w.upstream) in ((app_id, upstream), (app_id, name))
        )
        return next((way.text for way in ways if way.verdict not in ("not asked", "nothing")), "")

    def told(self, status: Status) -> Status:
        """Return a status that says of each link what was found."""
        if not self.kept.ways:
            return status
        links = tuple(
            msgspec.structs.replace(link, confirmed=self.found(link.app_id, link.upstream))
            for link in status.links
        )
        return msgspec.structs.replace(status, links=links)

    async def read(self, request: ReadReconciliation) -> Reconciliations:
        """Tell what was found last."""
        del request
        return Reconciliations(ways=tuple(self.kept.ways))

    async def reconcile(self, request: Reconcile) -> Reconciliations:
        """Compare now.

        Raises:
            RequestFault: There is no such app.

        """
        if request.app_id is not None and request.app_id not in self.core.desks:
            raise RequestFault(f"there is no app {request.app_id!r}", field="app_id", status=404)
        async with self._turn:
            found = [await self._one(place) for place in self._places(request.app_id)]
            self._keep(found)
        self._later(DAY_MS + self.core.means.rng() * SPREAD_MS)
        return Reconciliations(ways=tuple(found))

    async def _daily(self) -> None:
        try:
            self._later(AFTER_FAULT_MS)  # if this one is cut short
            said = await self.reconcile(Reconcile())
            if any(way.verdict == "not asked" and way.at_ms for way in said.ways):
                self._later(AFTER_FAULT_MS)
        finally:
            self._task = None

    # --- one way out ---------------------------------------------------------------------------

    def _places(self, app_id: str | None) -> list[Place]:
        apps = dict.fromkeys(app for app, _ in self.core.departures.ways)
        return [
            place
            for app in apps
            if app_id in (None, app)
            for place in self.core.far_ends.of(app)
            if place.stream is not None and not place.told.why_not
        ]

    async def _one(self, place: Place) -> Reconciled:
        core, stream = self.core, place.stream
        assert stream is not None
        now_ms = core.means.wall_ms()
        said = Reconciled(
            app_id=place.app_id, upstream=place.told.upstream, verdict="nothing", text="",
            at_ms=now_ms,
        )  # fmt: skip
        try:
            since_ms = core.outbox.reckoned_since(stream)
            from_ms = first_hour(now_ms - KEPT_DAYS * DAY_MS, since_ms or 0)
            before = self._ours(stream, from_ms)
            if since_ms is None or not before:
                return _found(said, Outcome())
            devices = sorted({device for device, _ in before})[:MOST_DEVICES]
            api = await core.far_ends.api(place)
            theirs = await off_loop(
                lambda: api.reckoning(from_ms, now_ms + DAY_MS + HOUR_MS, devices), name="reckoning"
            )
            after = {key: held for key, held in self._ours(stream, from_ms).items()
                     if key[0] in devices}  # fmt: skip
        except Fault as fault:
            why = core.wire.masks.apply(str(fault).encode()).decode("utf-8", "replace")
            return _not_asked(said, fault, why)
        kept_since = parse_ms(theirs.kept_since) if theirs.kept_since else None
        if kept_since is not None:
            from_ms = max(from_ms, first_hour(kept_since + SLACK_MS))
        outcome = compare(
            before,
            after,
            _theirs(theirs),
            from_ms=from_ms,
            unbelieved=sum(one.unbelieved for one in theirs.hours),
            erased=theirs.erasures.count,
        )
        if outcome.missing:
            counted = Counter(one.kind for one in outcome.differences)
            log.warning(
                "the far end lacks what it confirmed app=%s hours=%d",
                place.app_id,
                counted["missing"],
            )
        return _found(said, outcome)

    def _ours(self, stream: int, from_ms: int) -> dict[Key, Held]:
        return {
            (one.device, one.hour_ms): (one.sum.events, one.sum.digest)
            for one in self.core.outbox.reckoning(stream, from_ms)
            if one.device != OTHERS
        }

    # --- what outlives the program -------------------------------------------------------------

    def _later(self, in_ms: float) -> None:
        self.kept.next_ms = self.core.means.wall_ms() + round(in_ms)
        self._write()

    def _keep(self, found: Sequence[Reconciled]) -> None:
        known = {(one.app_id, one.upstream): one for one in self.kept.ways}
        for one in found:
            key = (one.app_id, one.upstream)
            if one.verdict != "not asked" or key not in known:
                known[key] = one
                self._note(one)
        self.kept.ways = list(known.values())
        self.core.watchers.changed()

    def _note(self, one: Reconciled) -> None:
        if one.verdict == "missing":
            text = MISSING.format(app=one.app_id, text=one.text) + " names the hours"
            self.core.note(_code(one), text, "warning")
        else:
            self.core.unnote(_code(one))

    def _write(self) -> None:
        try:
            write_private(self.file, msgspec.json.encode(self.kept))
        except Fault as fault:
            log.warning("could not keep what was compared code=%s", fault.code)


def handlers(core: Core) -> Handlers:
    """Return who answers for the comparison."""
    return {
        ReadReconciliation: core.reconciling.read,
        Reconcile: core.reconciling.reconcile,
    }


def _code(one: Reconciled) -> str:
    return f"reconciliation.{one.app_id}.{one.upstream}".rstrip(".")


def _theirs(said: Reckoning) -> dict[Key, Held]:
    hours: defaultdict[Key, Held] = defaultdict(lambda: (0, ""))
    for one in said.hours:
        hours[one.device_id, one.hour_ms] = (one.events, one.digest)
    return dict(hours)


def _found(said: Reconciled, outcome: Outcome) -> Reconciled:
    verdict = "equal"
    if outcome.missing:
        verdict = "missing"
    elif outcome.differences:
        verdict = "more"
    elif not outcome.confirmed:
        verdict = "nothing"
    told = tuple(
        DifferentHour(
            kind=one.kind, device=one.device, hour_ms=one.hour_ms, ours=one.ours, theirs=one.theirs
        )
        for one in lines(outcome.differences)
    )
    more = {
        "verdict": verdict, "text": sentence(outcome), "confirmed": outcome.confirmed,
        "held": outcome.held, "since_ms": outcome.since_ms, "erased": outcome.erased,
        "unbelieved": outcome.unbelieved, "hours": told,
    }  # fmt: skip
    return msgspec.structs.replace(said, **more)


def _not_asked(said: Reconciled, fault: Fault, why: str) -> Reconciled:
    """Return that it could not be asked; what no later try will change is said so."""
    text = "The far end could not be asked."
    if isinstance(fault, Refused) and fault.status == 404:
        text = "This far end is no Homing collector, or of an earlier version: it cannot be asked."
    elif isinstance(fault, SecretFault):
        text = "The far end cannot be asked without a token."
    at_ms = 0 if isinstance(fault, (Refused, SecretFault)) else said.at_ms
    return msgspec.structs.replace(said, verdict="not asked", text=text, reason=why, at_ms=at_ms)
