"""Rules of redaction as a person asks for them: those in force, what they did, a new one tried."""

from __future__ import annotations

from collections.abc import Iterator, Reversible
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from agent.adapters.outbox.outbox import Outbox
from agent.door.redaction import (
    ListRules,
    ReloadRules,
    Rules,
    RuleStatus,
    Trial,
    Trials,
    TryRule,
)
from agent.rules.redaction import Language, Rule, read_rule
from agent.runtime.counter.screening import MACHINE, Screening
from agent.settings import load
from tracking.errors import RequestFault

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core

MOST_TRIED: Final = 10_000
MOST_SHOWN: Final = 200
#: A rule that is only tried needs none of its own.
NO_EXAMPLE: Final[tuple[dict[str, dict[str, str]], ...]] = ({"before": {}, "after": {}},)


class _Stored(msgspec.Struct, frozen=True):
    """What of a stored event says whether a rule concerns it."""

    type: str = ""
    name: str | None = None
    call: msgspec.Raw = msgspec.Raw(b"")


class _Call(msgspec.Struct, frozen=True):
    event: object = None


_STORED: Final = msgspec.json.Decoder(_Stored)
_CALL: Final = msgspec.json.Decoder(_Call)


def handlers(core: Core) -> Handlers:
    """Return who answers the requests of ``agent.door.redaction``."""
    screening = core.intake.screening

    async def rules(_: ListRules) -> Rules:
        return _in_force(screening)

    async def reload(_: ReloadRules) -> Rules:
        settings = load(core.places.settings_file, core.means.environment)
        screening.replace(settings.rules, settings.redaction.machine)
        return _in_force(screening)

    async def try_rule(request: TryRule) -> Trials:
        entry = dict(request.rule)
        entry.setdefault("examples", [*NO_EXAMPLE])
        rule = read_rule(entry)
        if not 1 <= request.last <= MOST_TRIED:
            raise RequestFault(f"last is from 1 to {MOST_TRIED}", field="last")
        show = min(max(request.show, 0), MOST_SHOWN)
        newest = _newest(core.intake.passing, core.outbox, rule.app, request.last)
        return _tried(rule, newest, screening, show)

    return {ListRules: rules, ReloadRules: reload, TryRule: try_rule}


def _in_force(screening: Screening) -> Rules:
    return Rules(
        rules=tuple(
            RuleStatus(
                name=rule.name,
                app=rule.app,
                event=rule.event,
                path=rule.path,
                pattern=rule.pattern,
                action=rule.action,
                keep=rule.keep,
                examples=len(rule.examples),
                touched=screening.touched[rule.name],
                dropped=screening.dropped[rule.name],
            )
            for rule in screening.rules
        ),
        machine=screening.reach,
        machine_touched=screening.touched[MACHINE],
        machine_dropped=screening.dropped[MACHINE],
    )


Row: TypeAlias = tuple[int, str, bytes]  #: When, whose, and the event as it is stored.


def _newest(passing: Reversible[Row], outbox: Outbox, app: str, last: int) -> Iterator[Row]:
    """Yield the newest events that are still here, newest first: in memory, then in the outbox."""
    shown: set[bytes] = set()
    for at_ms, app_id, body in reversed(passing):
        if app in ("*", app_id) and len(shown) < last:
            shown.add(body)
            yield at_ms, app_id, body
    left = last - len(shown)
    for row in outbox.newest(None if app == "*" else app, last) if left else ():
        if row.body not in shown and left:
            left -= 1
            yield row.accepted_ms, row.app_id, row.body


def _tried(rule: Rule, events: Iterator[Row], screening: Screening, show: int) -> Trials:
    looked_at = concerned = changed = 0
    trials: list[Trial] = []
    for at_ms, app_id, body in events:
        looked_at += 1
        told = _STORED.decode(body)
        language: Language = "bucket" if told.call else "nucleus"
        event = bytes(told.call) if told.call else body
        name = told.name
        if told.call:
            said = _CALL.decode(event).event
            name = None if said is None else str(said)
        if not rule.concerns(app_id, name or told.type):
            continue
        concerned += 1
        after = rule.apply(event, language, screening.hasher(app_id))
        if after is event:
            continue
        changed += 1
        if len(trials) < show:
            text = None if after is None else after.decode()
            trials.append(Trial(at_ms=at_ms, app_id=app_id, before=event.decode(), after=text))
    return Trials(looked_at=looked_at, concerned=concerned, changed=changed, trials=tuple(trials))
