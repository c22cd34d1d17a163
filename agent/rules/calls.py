"""A Bucket call on its way out: from what was kept to what is posted.

Stored is one JSON object per call, ``{"id":…,"at":…,"type":…,"call":{…}}``: our wire id, when the
call arrived, its word, and the call as the app wrote it. Posted is the call in the strict form of
BUCKET.md §6: ids as text, and a timestamp, because no official client ever sends one and a late
call would be misdated (§8, 4). Everything else stays as it was, byte for byte.

Pure, and the same in is the same out: a question that is asked again is the same bytes under the
same ``Idempotency-Key``, also after a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from agent.rules.mapping import Profile
from tracking.bucket_fields import Fields
from tracking.events import Limits
from tracking.nucleus import iso

BULK_ITEMS: Final = 100  #: Official clients send no more (BUCKET.md §2, bulk).

_TIMED: Final = frozenset({"user", "company", "event"})
_IDS: Final = ("userId", "companyId", "featureId")
_LIMITS: Final = Limits()


class Stored(msgspec.Struct, frozen=True):
    """One call as it lies in the outbox.

    Attributes:
        id: Our wire id.
        at: When it arrived, Unix milliseconds; when it happened, if it was mapped.
        type: Its word.
        call: The JSON object, as the app wrote it.

    """

    id: str
    at: int
    type: str
    call: msgspec.Raw


_STORED: Final = msgspec.json.Decoder(list[Stored])
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def stored_of(body: bytes) -> list[Stored]:
    """Return the calls of a batch's body, in order.

    Raises:
        msgspec.MsgspecError: Nobody wrote that.

    """
    return _STORED.decode(b"[" + body + b"]")


def posted(call: Stored, profile: Profile) -> bytes:
    """Return a call as this kind of far end is told it; under ``front``, as an item of bulk."""
    raw = bytes(call.call)
    members: dict[str, object] = dict(_MEMBERS.decode(raw))
    added: dict[str, object] = {}
    if call.type in _TIMED or call.type == "feedback":
        fields = Fields(raw.decode(), _LIMITS)
        for key in _IDS:
            value = members.get(key)
            if isinstance(value, msgspec.Raw) and bytes(value)[:1] in b"-0123456789":
                added[key] = fields.id(key)
        timed = call.type in _TIMED or profile == "front"  # v1's feedback has no time (§6, 6)
        if timed and bytes(members.get("timestamp", b"null")) == b"null":  # type: ignore[call-overload]
            added["timestamp"] = iso(call.at)
    if profile == "front":
        if "type" not in members:
            return msgspec.json.encode({"type": call.type} | members | added)
    elif "type" in members:
        del members["type"]
        return msgspec.json.encode(members | added)
    return msgspec.json.encode(members | added) if added else raw


def bulk(calls: Iterable[Stored]) -> bytes:
    """Return the body of one ``POST /bulk``."""
    return b"[" + b",".join(posted(call, "front") for call in calls) + b"]"


def idempotency_key(ids: Sequence[str]) -> str:
    """Return the key under which these calls are posted together, always the same one.

    Args:
        ids: Their wire ids, in order; they are never given twice.

    """
    return hashlib.blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()
