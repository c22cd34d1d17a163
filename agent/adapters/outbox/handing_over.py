"""A queue whose upstream has gone: given up, or handed over to another."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from agent.adapters.outbox.daily import Day
from agent.adapters.outbox.eviction import Eviction
from agent.adapters.outbox.reckoning import Reckoned
from agent.adapters.outbox.view import OutboxView


class OutboxStreams(OutboxView):
    """What can be done with one stream as a whole, a slice at a time.

    Each step is a transaction of its own; others may be made in between, so that the loop goes on.
    """

    _eviction: Eviction
    reckoned: set[int]

    @abc.abstractmethod
    def turn(self) -> AbstractContextManager[None]:
        """Do everything in between as one durable transaction."""

    @abc.abstractmethod
    def tidy(self) -> bool:
        """Fold the write-ahead log in, with it what deleted events left there."""

    def days(self, stream: int) -> list[Day]:
        """Return what was counted of a stream by day, oldest first."""
        return self._look(lambda: self._streams.daily.of(stream))

    def tallies_of(self, app_id: str) -> list[tuple[int, str, int]]:
        """Return all that is tallied of an app: hour, kind, events."""
        return self._look(lambda: self._keepsakes.tallies_of(app_id))

    def reckon(self, streams: Iterable[int], now_ms: int) -> None:
        """Sum up from now on what is confirmed of these streams, and of no others.

        Raises:
            StorageFault: It is not known since when some of them are counted; they are, though.

        """
        self.reckoned.clear()
        self.reckoned.update(streams)
        books = self._streams.reckoning
        fresh = self._look(lambda: books.unbegun(self.reckoned))
        if fresh:
            with self.turn():
                books.begin(((one, self._streams[one].account) for one in fresh), now_ms)

    def reckoned_since(self, stream: int) -> int | None:
        """Return since when a stream is summed up: 0 if ever; None if it is not."""
        return self._look(lambda: self._streams.reckoning.since(stream))

    def reckoning(self, stream: int, since_ms: int) -> list[Reckoned]:
        """Return what was confirmed of a stream in the hours from then on, in order."""
        return self._look(lambda: self._streams.reckoning.of(stream, since_ms))

    def dropping(self, stream: int) -> Iterator[int]:
        """Delete what waits in a stream, and its dead letters; nothing of them stays on disk.

        Yields:
            How many events and dead letters went, counted as lost, after each transaction.

        Raises:
            StorageFault: Not all of it could be deleted; what went is gone.

        """
        while self._streams[stream].account.pending:
            with self.turn():
                gone = self._eviction.purge(stream)
            yield gone
        with self.turn():
            gone = self._letters.drop_of(stream)
        self.tidy()
        yield gone

    def moving(self, stream: int, to: int) -> Iterator[int]:
        """Hand what waits in a stream over to another, in order; dead letters stay.

        It stands behind what waits there already, and keeps the time it was accepted at. The
        promise moves with it: it is the other stream that has accepted it.

        Yields:
            How many events moved, after each transaction.

        Raises:
            StorageFault: Not all of it could be moved; each event is on one of the two.

        """
        while self._streams[stream].account.pending:
            with self.turn():
                moved = self._rows.hand_over(stream, to)
            yield moved
