"""What may be asked about the keys of upstreams that speak Bucket. A key itself is never shown."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from agent.door.asking import Request


class KeyKept(msgspec.Struct, frozen=True, kw_only=True):
    """Where the key of an upstream is now.

    Attributes:
        origin: The far end that it is for; a key is given to no other.
        kept_in: ``keyring`` or ``memory (until it stops)``; empty if there is none any more.
        notice: What a person should know; empty if nothing.

    """

    app_id: str
    upstream: str
    origin: str
    kept_in: str = ""
    notice: str = ""


class KeepUpstreamKey(Request[KeyKept], frozen=True):
    """Keep the key by which an app reports to an upstream, and try again at once.

    Attributes:
        app_id: Whose.
        name: The upstream's.
        key: Printable, without spaces; not shown again anywhere.

    """

    timeout_s: ClassVar[float] = 30.0

    app_id: str
    name: str
    key: str

    def __repr__(self) -> str:
        return f"KeepUpstreamKey(app_id={self.app_id!r}, name={self.name!r})"


class ForgetUpstreamKey(Request[KeyKept], frozen=True):
    """Delete it from the keyring and from memory; a file is its owner's to delete."""

    timeout_s: ClassVar[float] = 30.0

    app_id: str
    name: str
