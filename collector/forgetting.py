"""Deleting a user, everywhere (NUCLEUS.md §6, DELETE; SECURITY.md, "Delete-user").

    what waits is written ─► tombstones ─► erase ─► names and tombstones read again ─► compaction
                                                                                (collector.upkeep)

All of it between two commits, on the thread that writes: nothing of theirs is on its way meanwhile,
and after a crash at any point asking again completes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from collector.store.interface import Store
from collector.tombstones import Tombstones
from collector.writer import Writer

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
        devices: Which devices went with the user: they were linked to nobody else.
        at_ms: The moment; what is dated up to it stays away.

    """

    rows: int
    devices: list[str]
    at_ms: int


class Forgetting:
    """Erases people from a store in service.

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

    async def user(self, app_id: str, user_id: str) -> Forgotten:
        """Erase a user, and the devices that were linked to nobody else.

        Called on the loop.

        Raises:
            StorageFault: It is not certain that all is gone; the same again is safe.

        """
        return await self.writer.run(lambda: self._forget(app_id, user_id))

    def _forget(self, app_id: str, user_id: str) -> Forgotten:
        asked = {"app": app_id, "user": user_id}
        found = self.store.ask(DEVICES, asked, deadline_s=DEADLINE_S)
        devices = [str(device) for (device,) in found]
        at_ms = self.now_ms()
        # First, and durable: a crash before the erasure leaves a tombstone too early, never a gap.
        self.store.write([], self.tombstones.bury(app_id, [user_id], devices, at_ms))
        rows = self.store.erase(app_id, users=[user_id], devices=devices)
        return Forgotten(rows, devices, at_ms)
