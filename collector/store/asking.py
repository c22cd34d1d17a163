"""How every question reaches the engine: in one place, with one deadline for a whole answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from collector.store.dialect import values_in
from collector.store.interface import Store
from tracking.errors import StorageFault

EVER_MS = 253_402_300_800_000  #: The end of the year 9999: after every moment.

Row = tuple[Any, ...]
_wanted = lru_cache(maxsize=1024)(values_in)


class Asking:
    """Asks a store; what the questions of all subjects stand on.

    Args:
        store: Answers one text at a time.
        within_s: What all texts of one answer may take together, in seconds.
        now_s: Monotonic seconds.

    """

    def __init__(
        self,
        store: Store,
        within_s: float = 10.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._now_s = now_s
        self._until_s = now_s() + within_s

    @property
    def left_s(self) -> float:
        """Seconds that are left for this answer."""
        return self._until_s - self._now_s()

    def _ask(
        self, text: str, shared: Mapping[str, str] | None = None, /, **values: object
    ) -> list[Row]:
        """Ask one question; values that the text does not name are left out.

        Args:
            text: A template; ``FROM <name>`` is a part that is shared.
            shared: Parts by name; one may read those before it. The embedded engine works each
                out once; the other reads its text wherever it stands: 18.16 has no WITH.
            values: What is bound.

        Raises:
            StorageFault: The engine cannot answer, or the time of this answer is used up.

        """
        left_s = self.left_s
        if left_s <= 0:
            raise StorageFault("the answer took too long")
        once = self._store.dialect == "duckdb"
        left = dict(shared or {})
        parts: list[str] = []
        for name in list(left):
            part = left.pop(name)
            said = name if once else f"({part}) AS {name}"
            left = {later: more.replace(f"<{name}>", said) for later, more in left.items()}
            text = text.replace(f"<{name}>", said)
            parts.append(f"{name} AS MATERIALIZED ({part})")
        if parts and once:
            text = f"WITH {', '.join(parts)} {text}"
        return self._store.ask(
            text, {name: values[name] for name in _wanted(text)}, deadline_s=left_s
        )
