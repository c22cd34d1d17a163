"""What a store holds, as the data commands look at it: questions by name, and rows that travel.

The commands ask them of a store that they opened, or of a running server; either way only what
stands here is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from collector.store.interface import TABLES, Fact, Store, Stored
from tracking.errors import RequestFault

PAGE: Final = 500  #: People, firms or devices of one look.
PATIENCE_S: Final = 600.0

_NEVER: Final = 9_223_372_036_854_775_807

QUESTIONS: Final[Mapping[str, str]] = {
    "count": "SELECT count(*) FROM {events} WHERE app_id = $app",
    "older": (
        "SELECT count(*), coalesce(min(recv_ts), 0) FROM {events}"
        " WHERE app_id = $app AND recv_ts < $before"
    ),
    "seen": f"""
        SELECT id, min(CASE WHEN first_ts > 0 THEN first_ts ELSE {_NEVER} END), max(last_ts)
        FROM seen WHERE app_id = $app AND kind = $kind AND id > $after
        GROUP BY id ORDER BY id LIMIT {PAGE}
    """,  # noqa: S608 - numbers of our own
    "attributes": """
        SELECT id, key, value, ts, recv_ts FROM attribute
        WHERE app_id = $app AND kind = $kind AND {in|id|ids}
    """,
    "memberships": """
        SELECT user_id, company_id, max(ts), max(recv_ts) FROM membership
        WHERE app_id = $app AND {in|user_id|ids} GROUP BY user_id, company_id
    """,
    "feedback ids": f"""
        SELECT DISTINCT feedback_id FROM feedback
        WHERE app_id = $app AND feedback_id > $after ORDER BY feedback_id LIMIT {PAGE}
    """,  # noqa: S608
    "feedback": "SELECT * FROM feedback WHERE app_id = $app AND {in|feedback_id|ids}",
    "beat devices": f"""
        SELECT DISTINCT device_id FROM beat
        WHERE app_id = $app AND device_id > $after ORDER BY device_id LIMIT {PAGE}
    """,  # noqa: S608
    "beats": "SELECT DISTINCT * FROM beat WHERE app_id = $app AND {in|device_id|ids}",
}

_SHAPES: Final = {name: shape for shape, name in TABLES.items()}


def ask(store: Store, name: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Answer one of the questions.

    Raises:
        RequestFault: There is no such question.

    """
    if name not in QUESTIONS:
        raise RequestFault(f"nobody knows the question {name[:40]!r}")
    return store.ask(QUESTIONS[name], values, deadline_s=PATIENCE_S)


def packed(rows: Sequence[Stored], facts: Sequence[Fact]) -> bytes:
    """Return rows and facts as they travel to a server."""
    by_table = [(TABLES[type(fact)], fact) for fact in facts]
    return msgspec.msgpack.encode((rows, by_table))


def unpacked(body: bytes) -> tuple[list[Stored], list[Fact]]:
    """Return what :func:`packed` packed.

    Raises:
        RequestFault: It is none.

    """
    try:
        rows, by_table = msgspec.msgpack.decode(body)
        made: list[Fact] = [_SHAPES[name](*fact) for name, fact in by_table]
        return [Stored(*row) for row in rows], made
    except (msgspec.DecodeError, TypeError, ValueError, KeyError) as exc:
        raise RequestFault(f"these are no rows: {exc}") from exc
