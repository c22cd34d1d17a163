"""The questions about sessions, without window functions: by cells of 30 minutes.

A silence is 30 minutes or more (docs/numbers.md, "Sessions"), so it never lies within a cell, and
what happened between two neighbouring cells that are not empty is told by the last moment of one
and the first of the other: an equi-join on the cell before. A stay (``beat``) lies within one cell.

    sure      between the cells, less than 30 minutes without activity in all: no silence
    steady    more, but never 30 minutes at once: one instance too
    broken    silences: :mod:`collector.store.questions_sessions` walks their cells
"""

from __future__ import annotations

CELL_MS = 30 * 60_000
NEVER = 9_000_000_000_000_000  #: After every moment.

_KEYS = "app_id = $app AND device_id <> '' AND session_id <> ''"

# began: the first event; until: the last activity; quiet: from the first to the last activity, what
# lies between the last activity of one cell and the first of the next, in all. If that is less than
# 30 minutes, nobody fell silent.
_SPANS = f"""
  SELECT ses, min(event_low) AS began, max(high) AS until,
    max(high) - min(low) - sum(high - low) AS quiet
  FROM (
    SELECT dev, ses, cell, min(lo) AS low, max(hi) AS high, min(el) AS event_low FROM (
      SELECT device_id AS dev, session_id AS ses, {{idiv|ts|{CELL_MS}}} AS cell,
        ts AS lo, ts AS hi, ts AS el
      FROM {{events}} WHERE {_KEYS}
      UNION ALL
      SELECT device_id AS dev, session_id AS ses, {{idiv|first_ts|{CELL_MS}}} AS cell,
        first_ts AS lo, last_ts AS hi, CAST({NEVER} AS BIGINT) AS el
      FROM beat WHERE {_KEYS}
    ) AS either
    GROUP BY dev, ses, cell
  ) AS cells GROUP BY dev, ses
"""  # noqa: S608 - of texts of our own

# Those that surely never fell silent are summed by day; of the others the session ids come back,
# with day -1.
SURE = f"""
SELECT d, doubtful, count(*) AS n, sum(until - began) AS ms FROM (
  SELECT CASE WHEN quiet < {CELL_MS} THEN <day:began> ELSE -1 END AS d,
    CASE WHEN quiet < {CELL_MS} THEN '' ELSE ses END AS doubtful, began, until
  FROM ({_SPANS}) AS spans
  WHERE began < $end AND ((began >= $start AND until > began)
    OR (until >= $start AND quiet >= {CELL_MS}))
) AS them
GROUP BY d, doubtful
"""  # noqa: S608 - of texts of our own

# One row for each cell of a session that is not empty. el, eh: its first and last event.
CELL = f"""
  SELECT dev, ses, cell, min(lo) AS low, max(hi) AS high, min(el) AS event_low,
    max(eh) AS event_high, min(ini) AS first_init
  FROM (
    SELECT device_id AS dev, session_id AS ses, CAST(floor(ts / {CELL_MS}) AS BIGINT) AS cell,
      min(ts) AS lo, max(ts) AS hi, min(ts) AS el, max(ts) AS eh,
      min(CASE WHEN kind = 'init' THEN ts ELSE CAST({NEVER} AS BIGINT) END) AS ini
    FROM {{events}} WHERE {_KEYS} AND {{in|session_id|sessions}}
    GROUP BY dev, ses, cell
    UNION ALL
    SELECT device_id AS dev, session_id AS ses, CAST(floor(first_ts / {CELL_MS}) AS BIGINT) AS cell,
      min(first_ts) AS lo, max(last_ts) AS hi, CAST({NEVER} AS BIGINT) AS el,
      CAST(-1 AS BIGINT) AS eh, CAST({NEVER} AS BIGINT) AS ini
    FROM beat WHERE {_KEYS} AND {{in|session_id|sessions}}
    GROUP BY dev, ses, cell
  ) AS either
  GROUP BY dev, ses, cell
"""  # noqa: S608 - of texts of our own

# Of each session: when it began, when it was last active, and how often it fell silent.
STEADY = f"""
SELECT d, CASE WHEN gaps = 0 THEN '' ELSE ses END AS broken, count(*) AS n, sum(ms) AS total FROM (
  SELECT ses, gaps, CASE WHEN gaps = 0 THEN <day:began> ELSE -1 END AS d, until - began AS ms
  FROM (
    SELECT dev, ses, min(event_low) AS began, max(high) AS until,
      max(high) - min(low) - sum(high - low) AS quiet,
      sum(CASE WHEN low - coalesce(before_high, low - {2 * CELL_MS}) >= {CELL_MS} THEN 1 ELSE 0 END)
        - 1 AS gaps
    FROM <cells>
    LEFT JOIN (
      SELECT dev AS dev_b, ses AS ses_b, cell + 1 AS cell_b, high AS before_high
      FROM <cells>
    ) AS befores ON dev = dev_b AND ses = ses_b AND cell = cell_b
    GROUP BY dev, ses
  ) AS spans
  WHERE quiet >= {CELL_MS} AND ((gaps > 0 AND began < {NEVER})
    OR (began >= $start AND began < $end AND until > began))
) AS them
GROUP BY d, broken
"""  # noqa: S608 - of texts of our own

CELLS = f"SELECT * FROM ({CELL}) AS cells ORDER BY dev, ses, cell"  # noqa: S608

# The sessions of some people: their events, and what was on the same devices beside them.
KEYS_OF_USER = """
SELECT DISTINCT device_id, session_id FROM {events}
WHERE app_id = $app AND user_id = $user AND device_id <> '' AND session_id <> ''
"""
KEYS_OF_DEVICES = """
SELECT DISTINCT device_id, session_id FROM {events}
WHERE app_id = $app AND {in|device_id|devices} AND session_id <> ''
"""
MOMENTS = """
SELECT device_id, session_id, ts, kind, user_id, count(*) AS n FROM {events}
WHERE app_id = $app AND {in|device_id|devices} AND {in|session_id|sessions}
GROUP BY device_id, session_id, ts, kind, user_id ORDER BY device_id, session_id, ts, kind, user_id
"""
STAYS = """
SELECT DISTINCT device_id, session_id, first_ts, last_ts FROM beat
WHERE app_id = $app AND {in|device_id|devices} AND {in|session_id|sessions}
"""
