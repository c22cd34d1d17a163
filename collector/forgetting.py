"""Deleting a user, everywhere (NUCLEUS.md §6, DELETE; SECURITY.md, "Delete-user").

    what waits is written ─► tombstones ─► erase ─► names and tombstones read again ─► compaction
                                                                                (collector.upkeep)

All of it between two commits, on the thread that writes: nothing of theirs is on its way meanwhile,
and after a crash at any point asking again completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from collector.intake.tombstones import Tombstones
from collector.intake.writer import Writer
from collector.store.interface import Store

#: Devices with which this user was seen, and no other user.
DEVICES: Final = """
SELECT device_id FROM (
  SELECT device_id, user_id FROM {events} WHERE app_id = $app AND device_id <> ''
  UNION ALL
  SELECT device_id, user_id FROM beat WHERE app_id = $app AND device_id <> ''
) AS linked
GROUP BY device_id
HAVING max(CASE WHEN user_id = $user THEN 1 ELSE 0 END) = 1
   AND max(CASE WHEN user_id <> $user AND user_id <> '' THEN 1 ELSE 0 END) = 0
ORDER BY device_id
"""
DEADLINE_S: Final = 600.0


class Forgotten(NamedTuple):
    """What an erasure did.

    Attributes:
        rows: How many rows were erased.
        at_ms: The moment; what is dated up to it stays away.

    """

    rows: int
    at_ms: int


class Forgetting:
    """Erases people from a store in service.

    What it does blocks, and is done as a task of the writer (:meth:`Writer.run`).

    Args:
        store: The engine.
        writer: Its one thread that writes.
        tombstones: Those of the writer.
        now_ms: Unix milliseconds.

    """

    def __init__(
        self, store: Store, writer: Writer, tombstones: Tombstones, now_ms: Callable[[], int]
    ) -> None:
        self.store = store
        self.writer = writer
        self.tombstones = tombstones
        self.now_ms = now_ms

    def devices_of(self, app_id: str, user_id: str) -> list[str]:
        """Return the devices that go with a user: they were linked to nobody else."""
        asked = {"app": app_id, "user": user_id}
        found = self.store.ask(DEVICES, asked, deadline_s=DEADLINE_S)
        return [str(device) for (device,) in found]

    def erase(self, app_id: str, users: Sequence[str], devices: Sequence[str]) -> Forgotten:
        """Erase users and devices, and keep them away.

        Raises:
            StorageFault: It is not certain that all is gone; the same again is safe.

        """
        at_ms = self.now_ms()
        # First, and durable: a crash before the erasure leaves a tombstone too early, never a gap.
        self.store.write([], self.tombstones.bury(app_id, users, devices, at_ms))
        return Forgotten(self.store.erase(app_id, users=users, devices=devices), at_ms)
