"""The answers of the Data API, key by key as the seeds 001 and 002 write them.

The OpenAPI document is generated from these classes, and answers are built as them, so the two
cannot part. Moments are ISO 8601 in UTC with milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct, field

T = TypeVar("T")
Moment = Annotated[
    str, Meta(description="ISO 8601, UTC, milliseconds.", examples=["2021-03-23T08:23:44.497Z"])
]
Day = Annotated[str, Meta(description="A local day, YYYY-MM-DD.")]
ByDay = dict[Day, int]
Scalar = str | bool | int | float


class Data(Struct, Generic[T]):
    """What most answers are wrapped in."""

    data: T


class Listing(Struct, Generic[T]):
    """A part of a longer list, and how long that is."""

    total: int
    data: list[T]


class Failure(Struct, forbid_unknown_fields=False):
    """Why a question was not answered."""

    error: Annotated[str, Meta(description="One sentence for people.")]
    code: Annotated[str, Meta(description="For machines; docs/errors.md has all of them.")]
    field: Annotated[str, Meta(description="What was wrong: a parameter, or empty.")]
    advice: str = ""


class Glance(Struct, rename="camel"):
    installs: int
    users: int
    app_starts: int
    errors: int
    previous_installs: int
    previous_users: int
    previous_app_starts: int
    previous_errors: int


class Totals(Struct):
    users: int
    installs: int


class TextCount(Struct):
    value: str
    count: int


class NumberCount(Struct):
    value: int
    count: int


class ValueCount(Struct):
    value: Scalar
    count: int


class Daily(Struct, rename="camel"):
    """Every object has a key for every day of the interval, but avgSessionDuration."""

    total_numbers: Totals
    all_time: Totals
    usage: ByDay
    new_users: ByDay
    active_users: ByDay
    non_new_users: ByDay
    hours: dict[Day, Annotated[list[int], Meta(min_length=24, max_length=24)]]
    platforms: list[TextCount]
    versions: list[TextCount]
    languages: list[TextCount]
    ram: list[NumberCount]
    countries: list[TextCount]
    avg_session_duration: Annotated[dict[Day, float], Meta(description="Seconds.")]


class Attributes(Struct):
    event: str
    keys: list[str]
    type: Annotated[str, Meta(pattern="^(string|number|boolean)$")]


class EventRow(Struct):
    """One event with exactly the nineteen keys of the seeds."""

    app_id: str
    platform: str | None
    user_id: str | None
    machine_id: str | None
    version: str | None
    locale: str | None
    renderer: bool | None
    module_version: str | None
    avail_ram: int | None
    type: str
    time: Moment
    country: str | None
    arch: str | None
    first_time: bool
    session_id: str | None
    error_hash: str | None
    os_version: str | None
    data: Annotated[msgspec.Raw, Meta(description="The payload as it was sent, or null.")]
    duration: float | None


class UserDevice(
    Struct, rename={"id": "_id"} | {"last_seen": "lastSeen", "os_version": "osVersion"}
):
    last_seen: Moment
    id: str
    platform: str | None
    os_version: str | None
    version: str | None


class UserRow(Struct):
    """One of the list of users; an anonymous one has ``userId: null``."""

    id: str = field(name="_id")
    user_id: str | None = field(name="userId")
    anon_id: str | None = field(name="anonId")
    created_at: Moment | None = field(name="createdAt")
    devices: list[UserDevice]
    last_seen: Moment | None = field(name="lastSeen")
    props: dict[str, Any]


class UserRecord(Struct):
    last_seen: Moment | None = field(name="lastSeen")
    id: str = field(name="_id")
    app_id: str = field(name="appId")
    user_id: str | None = field(name="userId")
    anon_id: str | None = field(name="anonId")
    v: int = field(name="__v")
    created_at: Moment | None = field(name="createdAt")
    devices: list[UserDevice]
    props: dict[str, Any]
    updated_at: Moment | None = field(name="updatedAt")
    verified: bool
    props_by_device: dict[str, dict[str, Any]] = field(name="propsByDevice")


class SessionRow(Struct):
    device: str
    actions: int
    errors: int
    end: Moment
    start: Moment
    session: str


class UserDetails(Struct):
    user: UserRecord
    sessions: list[SessionRow]


class LiveUser(Struct, rename="camel"):
    user_db_id: str
    user_id: str | None
    device_id: str
    platform: str | None
    os_version: str | None
    country: str | None
    last_seen: Moment


class Company(Struct, rename="camel"):
    company_id: str
    first_seen: Moment | None
    last_seen: Moment | None
    users: int
    events: int
    attributes: dict[str, Any]


class CompanyRecord(Struct, rename="camel"):
    company_id: str
    first_seen: Moment | None
    last_seen: Moment | None
    users: list[str]
    events: int
    attributes: dict[str, Any]


class FeedbackRow(Struct, rename="camel"):
    feedback_id: str
    time: Moment
    score: float | None
    feature: str | None
    user_id: str | None
    company_id: str | None
    comment: str | None
    source: str | None
    question: str | None
    prompt_id: str | None


class FeatureScore(Struct):
    feature: str
    count: int
    average: float | None


class DayScore(Struct):
    count: int
    average: float | None


class Cohort(Struct):
    week: Annotated[str, Meta(description="The Monday of the first week.")]
    size: Annotated[int, Meta(description="Active in the first week: cell 0.")]
    weeks: Annotated[list[int], Meta(description="Cell k: active in the k-th week after.")]


class FunnelStep(Struct):
    step: str
    count: int


class ErrorGroup(Struct, rename="camel"):
    hash: str
    name: str
    count: int
    first_seen: Moment
    last_seen: Moment


class ErrorDevice(Struct, rename="camel"):
    device_id: str
    count: int
    first_seen: Moment
    last_seen: Moment


class ErrorRecord(Struct, rename="camel"):
    hash: str
    name: str
    count: int
    first_seen: Moment
    last_seen: Moment
    device_count: int
    devices: Annotated[list[ErrorDevice], Meta(description="The 1,000 with the most.")]
    versions: list[TextCount]
    stack: str | None
    sample: EventRow


class ReckonedHour(Struct, rename="camel"):
    device_id: str
    hour: Annotated[Moment, Meta(description="Beginning of the hour that the events are dated in.")]
    events: int
    digest: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f]{16}$",
            description="Of the events' ids as JSON text: two sums modulo 2^32, of the first and of"
            " the second word of each one's MD5, as hexadecimal digits.",
        ),
    ]
    unbelieved: Annotated[int, Meta(description="Events whose date was not believed.")]


class Erasures(Struct, rename="camel"):
    count: Annotated[int, Meta(description="People and devices erased since the start.")]
    last: Moment | None


class Reckoning(Struct, rename="camel"):
    """What is held of some devices, to be compared with what they count themselves."""

    hours: Annotated[list[ReckonedHour], Meta(description="Those with events, in order.")]
    erasures: Erasures
    kept_since: Annotated[
        Moment | None, Meta(description="What was received before is removed; null: nothing is.")
    ]


class Condition(Struct, rename="camel"):
    """How the collector is doing, and what it holds of this app."""

    engine: str
    size_bytes: int
    events: int
    unswept: Annotated[int, Meta(description="Erased rows whose bytes may still lie in a file.")]
    events_per_second: Annotated[float, Meta(description="Received over the last minute.")]
    lag_ms: Annotated[
        float | None,
        Meta(description="Mean time between event and receipt over the last minute."),
    ]
    last_received: Moment | None
    waiting: Annotated[int, Meta(description="Events that wait for the disk.")]
    live: int


class Receipt(Struct, rename="camel"):
    """What was erased, signed with the collector's own key."""

    statement: Annotated[str, Meta(description="JSON text, exactly as it was signed.")]
    algorithm: str
    public_key: Annotated[str, Meta(description="Ed25519, base64.")]
    signature: Annotated[str, Meta(description="Of the statement's UTF-8 bytes, base64.")]


class Export(Struct, rename="camel"):
    """All that is held about one person; events as in `homing collector export`."""

    app_id: str
    exported_at: Moment
    user: UserRecord | None
    sessions: list[SessionRow]
    devices: list[str]
    stays: list[dict[str, Any]]
    attributes: list[dict[str, Any]]
    memberships: list[dict[str, Any]]
    feedback: list[dict[str, Any]]
    raw_items: list[dict[str, Any]]
    events: list[dict[str, Any]]
