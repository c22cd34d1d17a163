"""The questions beyond the seeds: companies, feedback, retention, funnels, errors, all of one.

In the shared SQL; what the words mean: docs/numbers.md, "Beyond the seeds".
"""

from __future__ import annotations

from collector.store.interface import Stored
from collector.store.queries_daily import ROW_NAME
from collector.store.queries_people import ACTIVE

COLUMNS = ", ".join(Stored._fields)
MOST_STACKS = 20_000  #: Different stacks of one interval that are looked at, the most frequent.

# --- companies ---------------------------------------------------------------------------------

COMPANIES = f"""
SELECT company, min(CASE WHEN born > 0 THEN born END) AS first, max(heard) AS latest,
  sum(n) AS counted
FROM (
  SELECT company_id AS company, min(ts) AS born, max({ACTIVE}) AS heard,
    CAST(count(*) AS BIGINT) AS n
  FROM {{events}} WHERE app_id = $app AND company_id <> '' GROUP BY company_id
  UNION ALL
  SELECT id AS company, coalesce(min(CASE WHEN first_ts > 0 THEN first_ts END), 0) AS born,
    max(last_ts) AS heard, CAST(0 AS BIGINT) AS n
  FROM seen WHERE app_id = $app AND kind = 'company' GROUP BY id
) AS known
GROUP BY company
"""  # noqa: S608 - of texts of our own
COMPANY_USERS = """
SELECT DISTINCT company, named FROM (
  SELECT company_id AS company, user_id AS named FROM membership
  WHERE app_id = $app AND {in|company_id|companies}
  UNION ALL
  SELECT company_id AS company, user_id AS named FROM {events}
  WHERE app_id = $app AND {in|company_id|companies} AND user_id <> ''
) AS linked ORDER BY company, named
"""
COMPANY_ROWS = f"""
SELECT {COLUMNS} FROM {{events}} WHERE app_id = $app AND company_id = $company
ORDER BY ts DESC, recv_ts DESC, key_a, key_b LIMIT $limit OFFSET $skip
"""  # noqa: S608 - of names of our own

# --- feedback ----------------------------------------------------------------------------------


def _last(column: str) -> str:
    return f"argMax({column}, (recv_ts, raw))"


_WORDS = ("feature", "user_id", "company_id", "comment", "source", "question", "prompt_id")
# Each feedback as its last call left it; of calls at one moment, the greatest as text.
_FEEDBACK = f"""
  SELECT feedback_id AS id, {_last("ts")} AS moment, {_last("score")} AS points,
    {", ".join(f"{_last(word)} AS its_{word}" for word in _WORDS)}
  FROM feedback WHERE app_id = $app GROUP BY feedback_id
"""  # noqa: S608 - of names of our own
FEEDBACK = f"""
SELECT id, moment, points, {", ".join(f"its_{word}" for word in _WORDS)} FROM ({_FEEDBACK}) AS said
WHERE moment >= $start AND moment < $end ORDER BY moment DESC, id LIMIT $limit OFFSET $skip
"""  # noqa: S608 - of names of our own
FEEDBACK_COUNT = f"""
SELECT count(*) FROM ({_FEEDBACK}) AS said WHERE moment >= $start AND moment < $end
"""  # noqa: S608 - of names of our own
_SCORES = """CAST(count(*) AS BIGINT) AS n,
  sum(CASE WHEN points <> 0 THEN 1 ELSE 0 END) AS scored, sum(points) AS total"""
FEEDBACK_BY_FEATURE = f"""
SELECT its_feature, {_SCORES} FROM ({_FEEDBACK}) AS said WHERE moment >= $start AND moment < $end
GROUP BY its_feature ORDER BY its_feature
"""  # noqa: S608 - of names of our own
FEEDBACK_BY_DAY = f"""
SELECT <day:moment> AS d, {_SCORES} FROM ({_FEEDBACK}) AS said
WHERE moment >= $start AND moment < $end GROUP BY d
"""  # noqa: S608 - of names of our own

# --- retention and funnels ---------------------------------------------------------------------

#: Whose the nameless events of each device are: of the device (``d``), if it never named anybody,
#: of the user (``u``), if it named only one ever, else nobody's (empty). Shared by both questions.
OWNERS = """
  SELECT device_id AS dev, CASE
    WHEN device_id = '' THEN ''
    WHEN max(user_id) = '' THEN concat('d', device_id)
    WHEN coalesce(min(CASE WHEN user_id <> '' THEN user_id END), '') = max(user_id)
      THEN concat('u', max(user_id))
    ELSE '' END AS owner
  FROM {events} WHERE app_id = $app GROUP BY device_id
"""
SHARED = {"owners": OWNERS}


def _theirs(which: str) -> str:
    """Return the moments of some events, each with the person it belongs to, empty if nobody."""
    return f"""
      SELECT CASE WHEN user_id <> '' THEN concat('u', user_id) ELSE owner END AS person,
        ts AS moment
      FROM (SELECT device_id, user_id, ts FROM {{events}} WHERE {which}) AS said
      JOIN <owners> ON device_id = dev
    """  # noqa: S608 - of texts of our own


RETENTION = f"""
  SELECT cohort, w, count(*) AS n FROM (
    SELECT DISTINCT person, <week:moment> AS w FROM (
      {_theirs("app_id = $app AND ts >= $start")}
    ) AS theirs WHERE person <> ''
  ) AS weeks
  JOIN (
    SELECT who, <week:sight> AS cohort FROM (
      SELECT who, min(seen_at) AS sight FROM (
        SELECT concat('u', id) AS who, first_ts AS seen_at FROM seen
        WHERE app_id = $app AND kind = 'user' AND first_ts > 0
        UNION ALL
        SELECT owner AS who, first_ts AS seen_at FROM (
          SELECT id, first_ts FROM seen
          WHERE app_id = $app AND kind = 'device' AND first_ts > 0
        ) AS devices JOIN <owners> ON id = dev
      ) AS sights GROUP BY who
    ) AS firsts WHERE sight >= $start AND sight < $end
  ) AS cohorts ON person = who
  GROUP BY cohort, w
"""  # noqa: S608 - of texts of our own


def funnel(steps: int) -> str:
    """Return the question how many persons got to each step; names are bound as $step_0, ….

    Each step is an equi-join of those who got so far with the events of the next name, of which
    the first that is not too early and not too late counts.
    """
    so_far = f"""
      SELECT person, min(moment) AS began, min(moment) AS reached FROM (
        {_theirs(f"{{range}} AND {ROW_NAME} = $step_0")}
      ) AS firsts WHERE person <> '' GROUP BY person
    """  # noqa: S608 - of texts of our own
    counts = [f"SELECT 0 AS step, count(*) AS n FROM ({so_far}) AS step_0"]  # noqa: S608
    later = "app_id = $app AND ts >= $start AND ts <= $last"
    for step in range(1, steps):
        so_far = f"""
          SELECT person, min(start_{step}) AS began, min(moment) AS reached FROM (
            SELECT person, moment, start_{step}, from_{step} FROM (
              {_theirs(f"{later} AND {ROW_NAME} = $step_{step}")}
            ) AS theirs
            JOIN (
              SELECT person AS who, began AS start_{step}, reached AS from_{step}
              FROM ({so_far}) AS before_{step}
            ) AS so_far_{step} ON person = who
          ) AS pairs_{step}
          WHERE moment >= from_{step} AND moment <= start_{step} + $window GROUP BY person
        """  # noqa: S608 - of texts of our own
        counts.append(f"SELECT {step} AS step, count(*) AS n FROM ({so_far}) AS step_{step}")  # noqa: S608
    return " UNION ALL ".join(counts)


# --- errors ------------------------------------------------------------------------------------

STACKS = f"""
SELECT name, stack, count(*) AS n, min(ts) AS first, max(ts) AS latest FROM (
  SELECT name, {{attr|stack}} AS stack, ts FROM {{events}} WHERE {{range}} AND kind = 'error'
) AS them GROUP BY name, stack ORDER BY n DESC, name, stack LIMIT {MOST_STACKS}
"""  # noqa: S608 - a number of our own
STACK_DEVICES = """
SELECT device_id, count(*) AS n, min(ts) AS first, max(ts) AS latest FROM (
  SELECT device_id, {attr|stack} AS said, ts FROM {events}
  WHERE {range} AND kind = 'error' AND name = $name
) AS them WHERE {in|said|stacks} GROUP BY device_id ORDER BY n DESC, device_id
"""
STACK_VERSIONS = """
SELECT version, count(*) AS n FROM (
  SELECT version, {attr|stack} AS said FROM {events}
  WHERE {range} AND kind = 'error' AND name = $name
) AS them WHERE {in|said|stacks} GROUP BY version ORDER BY n DESC, version
"""
STACK_SAMPLE = f"""
SELECT {COLUMNS} FROM (
  SELECT {COLUMNS}, {{attr|stack}} AS said FROM {{events}}
  WHERE {{range}} AND kind = 'error' AND name = $name
) AS them WHERE {{in|said|stacks}} ORDER BY ts DESC, recv_ts DESC, key_a, key_b LIMIT 1
"""  # noqa: S608 - of names of our own

# --- how much comes in ---------------------------------------------------------------------------

ARRIVALS = """
SELECT count(*), coalesce(sum(recv_ts - ts), 0), coalesce(max(recv_ts), 0) FROM {events}
WHERE app_id = $app AND recv_ts >= $since
"""

# --- all that is held about one person -----------------------------------------------------------

_WHOSE = "(user_id = $user AND user_id <> '' OR {in|device_id|devices})"
EXPORTED: dict[str, str] = {
    "stays": f"""SELECT device_id, session_id, user_id, first_ts, last_ts FROM beat
      WHERE app_id = $app AND {_WHOSE} ORDER BY first_ts, device_id, session_id""",  # noqa: S608
    "attributes": """SELECT key, value, ts, recv_ts FROM attribute
      WHERE app_id = $app AND kind = 'user' AND id = $user ORDER BY ts, recv_ts, key, value""",
    "memberships": """SELECT company_id, ts, recv_ts FROM membership
      WHERE app_id = $app AND user_id = $user ORDER BY ts, recv_ts, company_id""",
    "feedback": """SELECT feedback_id, ts, recv_ts, raw FROM feedback
      WHERE app_id = $app AND user_id = $user ORDER BY recv_ts, feedback_id, raw""",
    "rawItems": """SELECT recv_ts, source, type, note, raw FROM raw_item
      WHERE app_id = $app AND user_id = $user AND user_id <> '' ORDER BY recv_ts, raw""",
}  # fmt: skip
EXPORTED_ROWS = f"""
SELECT {COLUMNS} FROM {{events}} WHERE app_id = $app AND {_WHOSE}
AND (ts > $at OR (ts = $at AND (key_a > $a OR (key_a = $a AND key_b > $b))))
ORDER BY ts, key_a, key_b LIMIT $limit
"""  # noqa: S608 - of names of our own

HELD: dict[str, str] = {
    "events": f"SELECT count(*) FROM {{events}} WHERE app_id = $app AND {_WHOSE}",  # noqa: S608
    "beat": f"SELECT count(*) FROM beat WHERE app_id = $app AND {_WHOSE}",  # noqa: S608
    "seen": """SELECT count(*) FROM seen WHERE app_id = $app
      AND (kind = 'user' AND id = $user OR kind = 'device' AND {in|id|devices})""",
    "attribute": "SELECT count(*) FROM attribute WHERE app_id = $app AND kind = 'user'"
    " AND id = $user",
    "membership": "SELECT count(*) FROM membership WHERE app_id = $app AND user_id = $user",
    "feedback": "SELECT count(*) FROM feedback WHERE app_id = $app AND user_id = $user",
    "raw_item": "SELECT count(*) FROM raw_item WHERE app_id = $app AND user_id = $user"
    " AND user_id <> ''",
}
