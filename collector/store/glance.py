"""The last 24 hours and the 24 before (quickglance, NUCLEUS.md §6), asked of any engine.

*Users* of an interval are the distinct userIds seen in it, and the anonymous identities (anonId,
else device) of those devices that named no user in it. One device is one anonymous identity, also
when only some of its events carry the anonId, or when a client makes a new one at each launch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collector.store.interface import Glance

DAY_MS = 86_400_000

USERS = """
SELECT
  (SELECT count(DISTINCT user_id) FROM {events} WHERE {range} AND user_id <> '')
  +
  (SELECT count(DISTINCT CASE WHEN anon <> '' THEN anon ELSE device_id END) FROM (
     SELECT device_id, max(anon_id) AS anon, max(user_id) AS who FROM {events}
     WHERE {range} GROUP BY device_id
   ) AS devices WHERE who = '')
"""

STARTS_AND_ERRORS = """
SELECT
  coalesce(sum(CASE WHEN kind = 'init' AND ts >= $middle THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN kind = 'error' AND ts >= $middle THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN kind = 'init' AND ts < $middle THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN kind = 'error' AND ts < $middle THEN 1 ELSE 0 END), 0)
FROM {events} WHERE {range} AND kind IN ('init', 'error')
"""

INSTALLS = """
SELECT
  coalesce(sum(CASE WHEN born >= $middle THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN born < $middle THEN 1 ELSE 0 END), 0)
FROM (
  SELECT id, min(first_ts) AS born FROM seen
  WHERE app_id = $app AND kind = 'device' AND first_ts > 0 GROUP BY id
) AS firsts
WHERE born >= $start AND born < $end
"""


def quickglance(
    ask: Callable[[str, Mapping[str, object]], list[tuple[Any, ...]]], app_id: str, now_ms: int
) -> Glance:
    """Ask an engine what quickglance answers.

    Args:
        ask: :meth:`collector.store.interface.Store.ask`.
        app_id: Whose.
        now_ms: Unix milliseconds; what happened at that moment still counts.

    """
    start, middle, end = now_ms - 2 * DAY_MS, now_ms - DAY_MS, now_ms + 1
    span: dict[str, object] = {"app": app_id, "start": start, "middle": middle, "end": end}
    ((starts, errors, starts_before, errors_before),) = ask(STARTS_AND_ERRORS, span)
    ((installs, installs_before),) = ask(INSTALLS, span)
    ((users,),) = ask(USERS, {"app": app_id, "start": middle, "end": end})
    ((users_before,),) = ask(USERS, {"app": app_id, "start": start, "end": middle})
    return Glance(
        int(installs),
        int(users),
        int(starts),
        int(errors),
        int(installs_before),
        int(users_before),
        int(starts_before),
        int(errors_before),
    )
