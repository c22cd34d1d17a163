"""``[lint]``: whether the agent learns what apps report, so that it can mark what is unusual."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Switch = Literal["on", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LintSettings:
    """What is learned of the events of apps: names and kinds, never values."""

    learn: Switch = field(
        default="on",
        metadata={
            "doc": "Whether names and kinds of properties are learned, and what is new, odd or"
            " looks personal is marked.",
            "words": ("on", "off"),
        },
    )
    looks_per_s: int = field(
        default=100,
        metadata={
            "doc": "Events of one app that are looked at in a second; of more than that, some.",
            "low": 1,
            "high": 100_000,
        },
    )
