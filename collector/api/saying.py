"""From what the questions return to what the API says: moments, absent values, the seeds' row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from collector.api import shapes
from collector.intake.presence import Device
from collector.store.interface import Stored
from collector.store.questions import error_hash
from collector.store.questions_people import Person, Record, id_of
from tracking.dates import iso
from tracking.nucleus import normal_language, normal_platform

_NULL = msgspec.Raw(b"null")


def moment(ms: int | None) -> str | None:
    """Return a moment as the seeds write it; None and 0 are unknown."""
    return iso(ms) if ms else None


def row_type(row: Stored) -> str:
    """Return what the Data API calls a row (NUCLEUS.md §6, row.type)."""
    match row.kind:
        case "event":
            return row.name
        case "error":
            return f"error:{row.name}"
        case "userid" | "props":
            return f"nucleus:{row.kind}"
        case _:
            return row.type


def event_row(row: Stored, first_time: bool) -> shapes.EventRow:
    """Return a stored event with exactly the nineteen keys of the seeds."""
    payload = msgspec.Raw(row.payload.encode()) if row.payload else _NULL
    if row.kind == "other" and row.name:
        members = json.loads(row.payload) if row.payload else {}
        payload = msgspec.Raw(msgspec.json.encode({"name": row.name, **members}))
    return shapes.EventRow(
        app_id=row.app_id,
        platform=normal_platform(row.platform),
        user_id=row.user_id or None,
        machine_id=row.device_id or None,
        version=row.version or None,
        locale=normal_language(row.locale),
        renderer={"renderer": True, "main": False}.get(row.process),
        module_version=row.module_version or None,
        avail_ram=row.avail_ram or None,
        type=row_type(row),
        time=iso(row.ts),
        country=row.country or None,
        arch=row.arch or None,
        first_time=first_time,
        session_id=row.session_id or None,
        error_hash=error_hash(row.name, _stack(row)) if row.kind == "error" else None,
        os_version=row.os_version or None,
        data=payload,
        duration=None,
    )


def event_rows(rows: Iterable[Stored], sights: Mapping[str, int]) -> list[shapes.EventRow]:
    """Return rows; ``sights`` tells when their devices were first seen."""
    return [event_row(row, sights.get(row.device_id) == row.ts) for row in rows]


def _stack(row: Stored) -> str:
    said = json.loads(row.payload).get("stack") if row.payload else None
    return said if isinstance(said, str) else ""


def stack_of(row: Stored) -> str | None:
    """Return an error's stack, None if it has none."""
    return _stack(row) or None


def user_devices(record: Record) -> list[shapes.UserDevice]:
    return [
        shapes.UserDevice(
            last_seen=iso(one["lastSeen"]),
            id=one["_id"],
            platform=one["platform"],
            os_version=one["osVersion"],
            version=one["version"],
        )
        for one in record["devices"]
    ]


def user_row(record: Record) -> shapes.UserRow:
    """Return one of the list of users."""
    return shapes.UserRow(
        id=record["_id"],
        user_id=record["userId"],
        anon_id=record["anonId"],
        created_at=moment(record["createdAt"]),
        devices=user_devices(record),
        last_seen=moment(record["lastSeen"]),
        props=record["props"],
    )


def user_record(app: str, record: Record) -> shapes.UserRecord:
    """Return the details of one user; nothing proves what tracking said (SECURITY.md)."""
    return shapes.UserRecord(
        last_seen=moment(record["lastSeen"]),
        id=record["_id"],
        app_id=app,
        user_id=record["userId"],
        anon_id=record["anonId"],
        v=0,
        created_at=moment(record["createdAt"]),
        devices=user_devices(record),
        props=record["props"],
        updated_at=moment(record["lastSeen"]),
        verified=False,
        props_by_device=record["propsByDevice"],
    )


def session_row(one: Record) -> shapes.SessionRow:
    return shapes.SessionRow(
        device=one["device"],
        actions=one["actions"],
        errors=one["errors"],
        end=iso(one["end"]),
        start=iso(one["start"]),
        session=one["session"],
    )


def live_user(app: str, device: Device) -> shapes.LiveUser:
    """Return somebody who is here, with the ``_id`` that the list of users has."""
    who = (
        Person("u", device.user_id)
        if device.user_id
        else Person("a", device.anon_id or device.device_id)
    )
    return shapes.LiveUser(
        user_db_id=id_of(app, who),
        user_id=device.user_id or None,
        device_id=device.device_id,
        platform=device.platform or None,
        os_version=device.os_version or None,
        country=None,
        last_seen=iso(device.last_seen_ms),
    )


def company(record: Record) -> shapes.Company:
    return shapes.Company(
        company_id=record["companyId"],
        first_seen=moment(record["firstSeen"]),
        last_seen=moment(record["lastSeen"]),
        users=len(record["users"]),
        events=record["events"],
        attributes=record["attributes"],
    )


def company_record(record: Record) -> shapes.CompanyRecord:
    return shapes.CompanyRecord(
        company_id=record["companyId"],
        first_seen=moment(record["firstSeen"]),
        last_seen=moment(record["lastSeen"]),
        users=record["users"],
        events=record["events"],
        attributes=record["attributes"],
    )


def feedback_row(row: tuple[Any, ...]) -> shapes.FeedbackRow:
    id_, at, score, feature, user, company_id, comment, source, question, prompt = row
    return shapes.FeedbackRow(
        feedback_id=id_,
        time=iso(at),
        score=score or None,
        feature=feature or None,
        user_id=user or None,
        company_id=company_id or None,
        comment=comment or None,
        source=source or None,
        question=question or None,
        prompt_id=prompt or None,
    )
