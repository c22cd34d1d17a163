"""The world as the core may use it: clocks, chance, the environment. Tests put their own in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the core knows of time and chance.

    Attributes:
        wall_ms: Unix milliseconds.
        mono_s: Monotonic seconds.
        rng: Uniform in [0, 1), for jitter; ids come from ``secrets``.
        zone: The person's time zone.
        environment: Variables of the process.

    """

    wall_ms: Callable[[], int]
    mono_s: Callable[[], float]
    rng: Callable[[], float]
    zone: tzinfo
    environment: Mapping[str, str]

    @classmethod
    def real(cls, environment: Mapping[str, str]) -> Means:
        """Return the machine's own clocks and chance."""
        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        return cls(
            wall_ms=lambda: time.time_ns() // 1_000_000,
            mono_s=time.monotonic,
            rng=random.random,
            zone=zone,
            environment=environment,
        )
