"""Those who wait until far ends have confirmed an event.

An event with several ways out is *delivered* when every one of them has confirmed it; a way that
is parked or down keeps its waiters until they give up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field

Streams = Mapping[str, tuple[int, ...]]  #: Wire id → the streams of the outbox that it is on.


@dataclass(slots=True, eq=False)
class _Wait:
    ids: tuple[str, ...]
    missing: set[tuple[int, str]]
    arrived: Callable[[], None]


@dataclass(slots=True)
class Waiters:
    """Who waits, by what they wait for."""

    _by_id: dict[str, list[_Wait]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def expect(self, streams: Streams, arrived: Callable[[], None]) -> None:
        """Call ``arrived``, once, when all of these are confirmed on all of their streams."""
        missing = {(one, id_) for id_, ones in streams.items() for one in ones}
        wait = _Wait(tuple(streams), missing, arrived)
        if not wait.missing:
            arrived()
            return
        for id_ in streams:
            self._by_id.setdefault(id_, []).append(wait)

    def confirmed(self, stream: int, ids: Set[str]) -> None:
        """Hear what the far end of one stream has."""
        for id_ in self._by_id.keys() & ids:
            for wait in tuple(self._by_id.get(id_, ())):
                wait.missing.discard((stream, id_))
                if not wait.missing:
                    self._drop(wait)
                    wait.arrived()

    def give_up(self, ids: Iterable[str]) -> None:
        """Nobody waits for these any more; they are delivered all the same."""
        for id_ in ids:
            self._by_id.pop(id_, None)

    def _drop(self, wait: _Wait) -> None:
        for id_ in wait.ids:
            waits = self._by_id.get(id_, [])
            if wait in waits:
                waits.remove(wait)
            if not waits:
                self._by_id.pop(id_, None)
