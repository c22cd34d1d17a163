"""What may be asked about rules of redaction, and what they did (docs/redaction.md)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from agent.door.asking import Request


class RuleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, and what it did since the agent started.

    Attributes:
        touched: Events that it changed.
        dropped: Events that it dropped, or left nothing of that would be an event.
        examples: How many it was tried with.

    """

    name: str
    app: str
    event: str
    path: str
    pattern: str
    action: str
    keep: str
    examples: int
    touched: int
    dropped: int


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules in force, in the order in which they are applied.

    Attributes:
        machine: Where this computer's names are taken out: errors, all, off.
        machine_touched: Events that this changed.
        machine_dropped: Events that could not be looked at to their end.

    """

    rules: tuple[RuleStatus, ...]
    machine: str
    machine_touched: int
    machine_dropped: int


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One event that a rule would change; ``after`` is None if it would drop it."""

    at_ms: int
    app_id: str
    before: str
    after: str | None


class Trials(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule would do to the newest events.

    Attributes:
        looked_at: Events that were tried.
        concerned: Those of its apps and names.
        changed: Those that it would change or drop.
        trials: The newest of these.

    """

    looked_at: int
    concerned: int
    changed: int
    trials: tuple[Trial, ...]


class ListRules(Request[Rules], frozen=True, kw_only=True):
    """Ask which rules are in force."""


class ReloadRules(Request[Rules], frozen=True, kw_only=True):
    """Have the rules of the settings file read again; refused if one is impossible."""


class TryRule(Request[Trials], frozen=True, kw_only=True):
    """Ask what a rule would do to the newest events, as they are kept here; changes nothing.

    Attributes:
        rule: As a table of the settings file.
        last: How many events to try.
        show: How many of those that change to show.

    """

    timeout_s: ClassVar[float] = 60.0

    rule: dict[str, Any]
    last: int = 500
    show: int = 20
