"""What may be asked about the comparison with a Homing collector (docs/reconciliation.md)."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

from agent.door.asking import Request

Verdict = Literal["equal", "missing", "more", "nothing", "not asked"]


class DifferentHour(Struct, frozen=True, kw_only=True):
    """One device's hour in which both ends do not agree."""

    kind: Literal["missing", "more"]
    device: str
    hour_ms: int
    ours: int
    theirs: int


class Reconciled(Struct, frozen=True, kw_only=True):
    """One way out of one app, compared.

    Attributes:
        verdict: ``equal``; ``missing`` if the far end lacks what it confirmed; ``more``;
            ``nothing`` to compare yet; ``not asked`` if it could not be, see ``reason``.
        text: The sentence.
        at_ms: When it was compared, 0 if never.
        confirmed: Events confirmed in the hours that were compared.
        held: How many of them the far end has for certain.
        since_ms: The first hour compared.
        erased: People and devices erased there since then: why events may be missing.
        unbelieved: Events there with a date that was not believed.
        hours: Those that differ.
        reason: Why it was not asked.

    """

    app_id: str
    upstream: str
    verdict: Verdict
    text: str
    at_ms: int = 0
    confirmed: int = 0
    held: int = 0
    since_ms: int | None = None
    erased: int = 0
    unbelieved: int = 0
    hours: tuple[DifferentHour, ...] = ()
    reason: str = ""


class Reconciliations(Struct, frozen=True, kw_only=True):
    """Every way out that can be compared."""

    ways: tuple[Reconciled, ...] = ()


class ReadReconciliation(Request[Reconciliations], frozen=True):
    """Tell what was found last."""


class Reconcile(Request[Reconciliations], frozen=True):
    """Compare now: all, or one app's."""

    timeout_s: ClassVar[float] = 120.0

    app_id: str | None = None
