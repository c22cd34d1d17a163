"""How much goes on the road at once.

A batch is one text frame. 500 events in a frame cost 0.4-0.6 µs of CPU each, and larger frames
gain nothing (DESKTOP.md §6); a far end answers 500 ids of 24 characters with 13 KB. Four
batches under way keep a distant far end busy while the first answer travels, and bound what is
sent again after a loss to 2,000 events or 1 MiB.
"""

from __future__ import annotations

MAX_BATCH_EVENTS = 500
MAX_BATCH_BYTES = 256 * 1024  #: Of the frame as it goes on the wire.
WINDOW = 4  #: Batches lent to one connection at the same time.
