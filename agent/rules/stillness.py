"""How things are when no app may report, in one sentence: who said so, until when, next step [R9].

Beside :mod:`agent.rules.sentence`, which tells of roads and far ends: where nothing may be
reported, no road is missed. *Paused apps* are dropped, *paused sending* keeps: the words differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Literal, Protocol

from agent.rules.sentence import Words
from agent.rules.wording import events, moment, visible


class Everyone(Protocol):
    """A no to all apps, as ``agent.door.apps.EveryApp`` tells it."""

    @property
    def consent(self) -> Literal["denied", "paused"]: ...
    @property
    def consent_from(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def since_ms(self) -> int | None: ...
    @property
    def until_ms(self) -> int | None: ...


def stillness(
    everyone: Everyone | None,
    consents: Sequence[str],
    *,
    pending: int,
    now_ms: int,
    zone: tzinfo,
) -> Words | None:
    """Say why no app is heard; None if one is, or if nobody said no.

    Args:
        everyone: The no to all apps, if there is one.
        consents: What each app may do that was declared or answered: ``allowed``, ``denied``, …
        pending: Events that wait in the outbox.
        now_ms: Now, Unix milliseconds.
        zone: The person's time zone, for "until 15:00".

    """
    kept = f" {events(pending)} from before safe." if pending else ""
    if everyone is not None and everyone.consent == "denied":
        if everyone.consent_from == "DO_NOT_TRACK":
            return None  # the sentence has its own words for it
        return Words(
            state="attention",
            text=f"No app may report: {visible(everyone.reason)}.{kept}",
            code="consent.deny",
            reason=visible(everyone.reason),
            next_step="Whoever looks after the settings of this computer can change that.",
        )
    if everyone is not None:
        because = f" ({visible(everyone.reason)})" if everyone.reason else ""
        end, step = "until you resume them", "Run `homing apps resume --all` to hear them again."
        if everyone.until_ms is not None:
            end = f"until {moment(everyone.until_ms, now_ms, zone)}"
        return Words(
            state="paused",
            text=f"All apps are paused {end}{because}: what they report is dropped.{kept}",
            code="apps.paused",
            reason=visible(everyone.reason),
            since_ms=everyone.since_ms or 0,
            next_step=step,
        )
    denied, paused = consents.count("denied"), consents.count("paused")
    if "allowed" in consents or not denied + paused:
        return None
    told = [f"{count} {word}" for count, word in ((denied, "denied"), (paused, "paused")) if count]
    return Words(
        state="paused",
        text=f"No app may report: {', '.join(told)}.{kept}",
        code="apps.none",
        next_step="See `homing apps`.",
    )
