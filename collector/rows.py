"""Stored events as they are handed out: one JSON object per line, the payload byte for byte.

But for the ends of lines: JSON has them between its tokens only, where a blank says the same.
"""

from __future__ import annotations

import msgspec

from collector.store.interface import Stored
from tracking.dates import iso

_ONE_LINE = {ord("\n"): " ", ord("\r"): " "}


class _Line(msgspec.Struct, omit_defaults=True, rename="camel"):
    """One exported event; what the sender did not say is left out."""

    type: str
    name: str | None = None
    id: msgspec.Raw | None = None
    date: str = ""
    received_at: str = ""
    app_id: str = ""
    session_id: str | None = None
    user_id: str | None = None
    anon_id: str | None = None
    device_id: str | None = None
    client: str | None = None
    module_version: str | None = None
    platform: str | None = None
    os_version: str | None = None
    total_ram: int | None = None
    version: str | None = None
    language: str | None = None
    arch: str | None = None
    process: str | None = None
    payload: msgspec.Raw | None = None


def exported(row: Stored) -> bytes:
    """Return a stored event as one line of NDJSON, readable again by `homing import`."""
    line = _Line(
        type=row.type,
        name=row.name or None,
        id=msgspec.Raw(row.event_id.encode()) if row.event_id else None,
        date=iso(row.ts),
        received_at=iso(row.recv_ts),
        app_id=row.app_id,
        session_id=row.session_id or None,
        user_id=row.user_id or None,
        anon_id=row.anon_id or None,
        device_id=row.device_id,
        client=row.client or None,
        module_version=row.module_version or None,
        platform=row.platform or None,
        os_version=row.os_version or None,
        total_ram=row.avail_ram or None,
        version=row.version or None,
        language=row.locale or None,
        arch=row.arch or None,
        process=row.process or None,
        payload=msgspec.Raw(row.payload.translate(_ONE_LINE).encode()) if row.payload else None,
    )
    return msgspec.json.encode(line) + b"\n"
