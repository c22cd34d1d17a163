"""A queue whose upstream has gone: given up, or handed over to another."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import AbstractContextManager

from agent.adapters.daily import Day
from agent.adapters.eviction import Eviction
from agent.adapters.outbox_view import OutboxView


class OutboxStreams(OutboxView):
    """What can be done with one stream as a whole, a slice at a time.

    Each step is a transaction of its own; others may be made in between, so that the loop goes on.
    """

    _eviction: Eviction

    @abc.abstractmethod
    def turn(self) -> AbstractContextManager[None]:
        """Do everything in between as one durable transaction."""

    @abc.abstractmethod
    def tidy(self) -> bool:
        """Fold the write-ahead log in, with it what deleted events left there."""

    def days(self, stream: int) -> list[Day]:
        """Return what was counted of a stream by day, oldest first."""
        return self._look(lambda: self._streams.daily.of(stream))

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
