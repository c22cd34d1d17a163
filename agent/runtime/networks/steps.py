"""Steps taken one after the other, each with its evidence, until one of them fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from agent.adapters.roads.patience import as_fault
from agent.door.network import Hop, Verdict
from tracking.errors import Fault

T = TypeVar("T")


class Stopped(Exception):
    """A hop failed, and was said to."""


@dataclass(slots=True)
class Steps:
    """What was seen so far, and the sockets that are open."""

    hops: list[Hop] = field(default_factory=list)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def say(
        self, name: str, verdict: Verdict, evidence: str, *, code: str = "", repair: str = ""
    ) -> None:
        self.hops.append(
            Hop(name=name, verdict=verdict, evidence=evidence, code=code, repair=repair)
        )

    def take(self, name: str, step: Callable[[], tuple[T, str]], repair: str = "") -> T:
        """Take a step that returns its result and its evidence, or fails with a fault."""
        began = time.monotonic()
        try:
            result, evidence = step()
        except (Fault, OSError) as exc:
            fault = exc if isinstance(exc, Fault) else as_fault(exc, name)
            took_ms = (time.monotonic() - began) * 1000
            self.hops.append(
                Hop(
                    name=name,
                    verdict="error",
                    evidence=str(fault),
                    code=fault.code,
                    repair=fault.advice or repair,
                    took_ms=took_ms,
                )
            )
            raise Stopped from exc
        took_ms = (time.monotonic() - began) * 1000
        self.hops.append(Hop(name=name, verdict="ok", evidence=evidence, took_ms=took_ms))
        return result
