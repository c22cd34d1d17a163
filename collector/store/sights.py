"""When each device and each user was first seen, in few bytes.

A dict of tuples of text takes 200 MB for a million of them. Here an entry is one 64-bit word of a
hash and one of 20 more bits of it and the time: open addressing, in 64 parts that grow one by one,
so that nobody waits for the growth of all. That is 21 to 43 bytes an entry.

Who is looked for is told apart by 84 bits of a BLAKE2b under a key that this process made by
chance. So nobody can choose two ids that meet; by chance any two of a million meet with a
probability of 3 in 10^14, of a hundred million with 3 in 10^10: less than a disk's own errors. If
two ever met, a first sight that is later than the other's would not be written; nothing else.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from array import array
from typing import Final

_PARTS: Final = 64
_FIRST_SLOTS: Final = 16
_TIME_BITS: Final = 44  #: Milliseconds to the year 2527.
_TIME: Final = (1 << _TIME_BITS) - 1
_REST: Final = ((1 << 64) - 1) ^ _TIME
_HASH = struct.Struct("<QQ")


class Sights:
    """First sights by app, kind and id."""

    __slots__ = ("_key", "_parts")

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._parts = [_Part() for _ in range(_PARTS)]

    def get(self, app_id: str, kind: str, id_: str) -> int | None:
        """Return when somebody was first seen, Unix milliseconds; None if nobody knows."""
        head, rest = self._hash(app_id, kind, id_)
        part = self._parts[head & (_PARTS - 1)]
        return (part.rests[part.place(head, rest)] & _TIME) or None

    def put(self, app_id: str, kind: str, id_: str, first_ms: int) -> None:
        head, rest = self._hash(app_id, kind, id_)
        self._parts[head & (_PARTS - 1)].put(head, rest | min(max(first_ms, 1), _TIME))

    def forget(self, app_id: str, kind: str, id_: str) -> None:
        """Know nothing of somebody any more; the place stays taken until the file is read again."""
        head, rest = self._hash(app_id, kind, id_)
        part = self._parts[head & (_PARTS - 1)]
        at = part.place(head, rest)
        if part.heads[at]:
            part.rests[at] = rest

    def _hash(self, app_id: str, kind: str, id_: str) -> tuple[int, int]:
        said = f"{app_id}\0{kind}\0{id_}".encode("utf-8", "surrogatepass")
        head, rest = _HASH.unpack(hashlib.blake2b(said, digest_size=16, key=self._key).digest())
        return head or 1, rest & _REST

    @property
    def size_bytes(self) -> int:
        return sum(16 * len(part.heads) for part in self._parts)

    def __len__(self) -> int:
        return sum(part.taken for part in self._parts)


class _Part:
    """Slots of two words; a slot whose first word is 0 is free."""

    __slots__ = ("heads", "rests", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self.heads = array("Q", bytes(8 * _FIRST_SLOTS))
        self.rests = array("Q", bytes(8 * _FIRST_SLOTS))

    def place(self, head: int, rest: int) -> int:
        """Return the slot of a hash, or the free one where it would be put."""
        heads, rests = self.heads, self.rests
        last = len(heads) - 1
        at = (head >> 6) & last
        while heads[at] and not (heads[at] == head and rests[at] & _REST == rest):
            at = (at + 1) & last
        return at

    def put(self, head: int, word: int) -> None:
        at = self.place(head, word & _REST)
        if not self.heads[at]:
            self.heads[at] = head
            self.taken += 1
        self.rests[at] = word
        if 4 * self.taken > 3 * len(self.heads):
            self._grow()

    def _grow(self) -> None:
        old = [(head, rest) for head, rest in zip(self.heads, self.rests, strict=True) if head]
        size = 8 * 2 * len(self.heads)
        self.heads, self.rests = array("Q", bytes(size)), array("Q", bytes(size))
        for head, word in old:
            at = self.place(head, word & _REST)
            self.heads[at], self.rests[at] = head, word
