"""Events as they are stored, and stored events as they are handed out, and back again.

    Event ── stored ──► Stored ── exported ──► one JSON object per line ── imported ──► Stored

A line says everything that a row does: an export that is imported into an empty collector exports
the same lines again, with the same content keys, so nothing of it is ever counted twice.

A line has the payload byte for byte, but for the ends of lines: JSON has them between its tokens
only, where a blank says the same.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from collector.intake.attributes import attributes_among
from collector.store.interface import (
    CLOCK_NOT_BELIEVED,
    DATE_AS_NUMBER,
    FROM_BUCKET,
    INACTIVE,
    NAME_FOLDED,
    OTHER,
    Stored,
)
from tracking import strict_json
from tracking.dates import iso, parse_ms
from tracking.errors import RequestFault
from tracking.events import Event, Kind, Limits, RawId
from tracking.lenient import KINDS

_HALVES: Final = struct.Struct(">qq")
_ENCODER: Final = msgspec.json.Encoder()
_SORTED: Final = msgspec.json.Encoder(order="sorted")
_MEMBERS: Final = msgspec.json.Decoder(dict[str, object])
_BOTH: Final = msgspec.json.Decoder(tuple[str, str])
_ONE_LINE: Final = {ord("\n"): " ", ord("\r"): " "}
_LINE: Final = Limits(depth=Limits().depth + 1)  #: A line holds its payload one deeper.
_BUCKET: Final = "bucket"
_OTHER, _OTHER_WORD = Kind.OTHER, Kind.OTHER.value  #: An enum's ``value`` runs Python; asked often.


def content_key(app_id: str, device: str, event: Event) -> bytes:
    """Return the 16 bytes by which a repeat is recognised.

    Source: NUCLEUS.md A3; SECURITY.md, "Event-id collision".
    """
    members = None if event.payload is None else _MEMBERS.decode(event.payload)
    return _key(app_id, device, event, members)


def _key(app_id: str, device: str, event: Event, members: dict[str, object] | None) -> bytes:
    said = (
        app_id,
        device,
        event.session_id,
        event.id,
        event.date,
        event.type,
        event.name,
        # Order of keys and spaces make no difference.
        "" if members is None else _SORTED.encode(members).decode(),
    )
    return hashlib.blake2b(_ENCODER.encode(said), digest_size=16).digest()


def stored(
    app_id: str,
    device: str,
    event: Event,
    received_ms: int,
    at_ms: int,
    country: str = "",
    *,
    repeats: bool = True,
) -> Stored:
    """Return an event as it is stored.

    Args:
        app_id: Whose it is.
        device: A4, A19.
        event: As parsed.
        received_ms: When it arrived.
        at_ms: When it happened, as far as its sender can be believed.
        country: Of its sender's address, empty if unknown.
        repeats: What has neither id nor date may be a repeat. If not, it is an event of its own:
            two clicks that look alike are two.

    """
    payload, date, said_ms = event.payload, event.date, event.date_ms or 0
    members = None if payload is None else _MEMBERS.decode(payload)
    if repeats or date is not None or event.id is not None:
        key = _key(app_id, device, event, members)
    else:
        key = secrets.token_bytes(16)
    key_a, key_b = _HALVES.unpack(key)
    flags, raw_date = 0, ""
    if date is not None:
        if at_ms != event.date_ms:
            flags = CLOCK_NOT_BELIEVED
        if said_ms and type(date) is int and date == said_ms:
            flags |= DATE_AS_NUMBER
        elif not said_ms or type(date) is not str or not _strict(date):
            raw_date = _ENCODER.encode(date).decode()
    machine_id = event.machine_id
    keys, values = ([], []) if members is None else attributes_among(members)
    return Stored(  # by position: names cost as much as the rest of this function
        app_id,
        key_a,
        key_b,
        at_ms,
        received_ms,
        said_ms,
        _OTHER_WORD if event.kind is _OTHER else event.type,
        event.type,
        event.name or "",
        "" if event.id is None else _ENCODER.encode(event.id).decode(),
        event.user_id or "",
        event.anon_id or "",
        device,
        event.session_id or "",
        event.platform or "",
        event.os_version or "",
        event.total_ram or 0,
        event.version or "",
        event.language or "",
        event.client or "",
        event.module_version or "",
        event.arch or "",
        event.process or "",
        flags,
        "" if payload is None else payload.decode(),
        "" if machine_id is None or machine_id == device else machine_id,
        "",
        country,
        raw_date,
        "",
        keys,
        values,
    )


def _strict(date: str) -> bool:
    """Return whether :func:`tracking.dates.iso` would write a readable date just so.

    These places leave it no other form; writing it anew costs four times as much.
    """
    return (
        len(date) == 24
        and date[4] == "-" == date[7]
        and date[10] == "T"
        and date[19] == "."
        and date[23] == "Z"
    )


# --- lines -------------------------------------------------------------------------------------


class _Line(msgspec.Struct, omit_defaults=True, rename="camel"):
    """One exported event; what the sender did not say is left out.

    Attributes:
        date: When it happened, as far as its sender was believed.
        said_date: The sender's own date in its own form, if that is another text; null if it
            said none.
        machine_id: If it is not the device.
        key: The content key, if it does not follow from the rest.

    """

    type: str
    name: str | None = None
    id: Raw | UnsetType = UNSET
    date: str = ""
    said_date: Raw | UnsetType = UNSET
    received_at: str = ""
    app_id: str = ""
    session_id: str | None = None
    user_id: str | None = None
    anon_id: str | None = None
    device_id: str | None = None
    machine_id: str | None = None
    company_id: str | None = None
    country: str | None = None
    client: str | None = None
    module_version: str | None = None
    platform: str | None = None
    os_version: str | None = None
    total_ram: int | None = None
    version: str | None = None
    language: str | None = None
    arch: str | None = None
    process: str | None = None
    source: str | None = None
    active: bool = True
    key: str | None = None
    payload: Raw | UnsetType = UNSET


_READ: Final = msgspec.json.Decoder(_Line)


def exported(row: Stored) -> bytes:
    """Return a stored event as one line of NDJSON; :func:`imported` reads it again."""
    date = iso(row.ts)
    said = row.raw_date or _said(row)
    from_bucket = bool(row.flags & FROM_BUCKET)
    type_, name = named(row)
    line = _Line(
        type=type_,
        name=name or None,
        id=Raw(row.event_id.encode()) if row.event_id else UNSET,
        date=date,
        said_date=UNSET if said == f'"{date}"' else Raw(said.encode()),
        received_at=iso(row.recv_ts),
        app_id=row.app_id,
        session_id=row.session_id or None,
        user_id=row.user_id or None,
        anon_id=row.anon_id or None,
        device_id=row.device_id or None,
        machine_id=row.machine_id or None,
        company_id=row.company_id or None,
        country=row.country or None,
        client=row.client or None,
        module_version=row.module_version or None,
        platform=row.platform or None,
        os_version=row.os_version or None,
        total_ram=row.avail_ram or None,
        version=row.version or None,
        language=row.locale or None,
        arch=row.arch or None,
        process=row.process or None,
        source=_BUCKET if from_bucket else None,
        active=not row.flags & INACTIVE,
        key=_HALVES.pack(row.key_a, row.key_b).hex()
        if from_bucket or (said == "null" and not row.event_id)
        else None,
        payload=Raw(row.payload.translate(_ONE_LINE).encode()) if row.payload else UNSET,
    )
    return msgspec.json.encode(line) + b"\n"


def named(row: Stored) -> tuple[str, str]:
    """Return the type and the name that an event came with, under whatever it is counted."""
    if not row.flags & NAME_FOLDED:
        return row.type, row.name
    if row.type != OTHER:
        return row.type, row.raw_name
    return _BOTH.decode(row.raw_name)  # folded under its type (collector.intake.catalogue)


def _said(row: Stored) -> str:
    """Return the date that an event said, as JSON."""
    if not row.said_ts:
        return "null"
    return str(row.said_ts) if row.flags & DATE_AS_NUMBER else f'"{iso(row.said_ts)}"'


def imported(line: bytes, app_id: str, received_ms: int | None = None) -> Stored:
    """Return the event that one exported line tells.

    Args:
        line: As :func:`exported` wrote it.
        app_id: Whose it becomes.
        received_ms: When it counts as received; None leaves that as it was.

    Raises:
        RequestFault: It is no such line; names the place.

    """
    try:
        strict_json.check_object(line.decode().strip(), "line", _LINE)
        said = _READ.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestFault(f"the line is none of an export: {exc}", field="line") from None
    at_ms, was_ms = _moment(said.date, "date"), _moment(said.received_at, "receivedAt")
    date = said.date if said.said_date is UNSET else _scalar(said.said_date, "saidDate")
    event = Event(
        kind=KINDS.get(said.type, Kind.OTHER),
        type=said.type,
        name=said.name,
        id=None if said.id is UNSET else _scalar(said.id, "id"),
        date=date,
        date_ms=None if date is None else parse_ms(date),
        session_id=said.session_id,
        user_id=said.user_id,
        anon_id=said.anon_id,
        machine_id=said.machine_id,
        payload=_object(said.payload),
    )
    event = msgspec.structs.replace(
        event,
        client=said.client,
        module_version=said.module_version,
        platform=said.platform,
        os_version=said.os_version,
        total_ram=said.total_ram,
        version=said.version,
        language=said.language,
        arch=said.arch,
        process=said.process,
    )
    received_ms = was_ms if received_ms is None else received_ms
    row = stored(app_id, said.device_id or "", event, received_ms, at_ms, said.country or "")
    from_bucket = said.source == _BUCKET
    key_a, key_b = row[1:3] if said.key is None else _halves(said.key)
    return row._replace(
        key_a=key_a,
        key_b=key_b,
        company_id=said.company_id or "",
        flags=row.flags | from_bucket * FROM_BUCKET | (not said.active) * INACTIVE,
    )


def _moment(text: str, key: str) -> int:
    at_ms = parse_ms(text)
    if at_ms is None:
        raise RequestFault(f"line.{key} is no date: {strict_json.clip(text)}", field=f"line.{key}")
    return at_ms


def _scalar(raw: Raw, key: str) -> RawId | None:
    value = msgspec.json.decode(raw)
    if isinstance(value, bool) or not isinstance(value, (int, float, str, type(None))):
        raise RequestFault(f"line.{key} must be text or a number", field=f"line.{key}")
    return value


def _object(raw: Raw | UnsetType) -> bytes | None:
    if raw is UNSET:
        return None
    payload = bytes(raw)
    if not payload.startswith(b"{"):
        raise RequestFault("line.payload must be an object", field="line.payload")
    return payload


def _halves(key: str) -> tuple[int, int]:
    try:
        key_a, key_b = _HALVES.unpack(bytes.fromhex(key))
    except (ValueError, struct.error):
        raise RequestFault("line.key must be 32 hexadecimal digits", field="line.key") from None
    return key_a, key_b
