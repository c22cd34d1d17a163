"""The questions about days: who was there, who was new, with what, and for how long.

In the shared SQL (:mod:`collector.store.dialect`); ``<day:ts>`` is filled in by
:mod:`collector.store.local_time`. What the words mean: docs/numbers.md. No expression is aliased to
the name of a column, which ClickHouse would take for the column.
"""

from __future__ import annotations

# One device is one anonymous identity, also when only some of its events carry the anonId, or when
# a client makes a new one at each launch.
USERS = """
SELECT
  (SELECT count(DISTINCT user_id) FROM {events} WHERE {range} AND user_id <> ''),
  (SELECT count(DISTINCT who) FROM (
     SELECT CASE WHEN max(anon_id) <> '' THEN max(anon_id) ELSE device_id END AS who
     FROM {events} WHERE {range} AND device_id <> ''
     GROUP BY device_id HAVING max(user_id) = ''
   ) AS nameless)
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
  coalesce(sum(CASE WHEN sight >= $start AND sight < $end THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN sight >= $before AND sight < $start THEN 1 ELSE 0 END), 0),
  count(*)
FROM (
  SELECT id, min(first_ts) AS sight FROM seen
  WHERE app_id = $app AND kind = 'device' AND first_ts > 0 GROUP BY id
) AS sights
"""

STARTS = """
SELECT <hour:ts> AS h, count(*) AS n FROM {events} WHERE {range} AND kind = 'init' GROUP BY h
"""

# What is counted more than once is worked out once, where the engine can (Asking._ask).
#
# there: who was on which device, in which country, on which day. said: what they said of
# themselves, when last; a few rows of each, before anything is compared. The country stands in
# nearly every row, the rest only where a program starts or fails, so it comes from there.
#
# hidden: who named nobody, by day. nameless: who named nobody on any day.
SHARED = {
    "there": """
      SELECT <day:ts> AS d, device_id, user_id, country, max(anon_id) AS anon, max(ts) AS heard,
        CASE WHEN user_id <> '' THEN 1 ELSE 0 END AS named
      FROM {events} WHERE {range} GROUP BY d, device_id, user_id, country
    """,
    "said": """
      SELECT device_id, user_id, platform, version, locale, avail_ram, '' AS nation, max(ts) AS t
      FROM {events}
      WHERE {range} AND (platform <> '' OR version <> '' OR locale <> '' OR avail_ram <> 0)
      GROUP BY device_id, user_id, platform, version, locale, avail_ram
      UNION ALL
      SELECT device_id, user_id, '' AS platform, '' AS version, '' AS locale,
        CAST(0 AS BIGINT) AS avail_ram, country AS nation, max(heard) AS t
      FROM <there> WHERE country <> '' GROUP BY device_id, user_id, country
    """,
    "hidden": """
      SELECT d, device_id, max(anon) AS its_anon FROM <there> WHERE device_id <> ''
      GROUP BY d, device_id HAVING max(named) = 0
    """,
    "nameless": """
      SELECT device_id AS device,
        CASE WHEN max(its_anon) <> '' THEN max(its_anon) ELSE device_id END AS who
      FROM <hidden> WHERE device_id NOT IN (SELECT device_id FROM <there> WHERE named = 1)
      GROUP BY device_id
    """,
}


def _first_days(kind: str) -> str:
    """Return the local day of the first sight of those whose day may be one of the interval."""
    return f"""
      SELECT id AS whose, <day:sight> AS first_day FROM (
        SELECT id, min(first_ts) AS sight FROM seen
        WHERE app_id = $app AND kind = '{kind}' AND first_ts > 0 GROUP BY id
      ) AS sights WHERE sight >= $early AND sight < $late
    """  # noqa: S608 - of texts of our own


_NO_WORDS = "'' AS a, '' AS b, '' AS c, CAST(0 AS BIGINT) AS e, '' AS f"
# The latest that is not empty, of equal times the greatest.
_LATEST = """
  argMax(platform, (CASE WHEN platform <> '' THEN t ELSE 0 END, platform)) AS a,
  argMax(version, (CASE WHEN version <> '' THEN t ELSE 0 END, version)) AS b,
  argMax(locale, (CASE WHEN locale <> '' THEN t ELSE 0 END, locale)) AS c,
  argMax(avail_ram, (CASE WHEN avail_ram <> 0 THEN t ELSE 0 END, avail_ram)) AS e,
  argMax(nation, (CASE WHEN nation <> '' THEN t ELSE 0 END, nation)) AS f
"""

# By day: who was active (n), and who of them was new. In all: who was there, and with what.
PERSONS = f"""
SELECT 'day' AS what, d, CAST(count(*) AS BIGINT) AS n,
  CAST(sum(CASE WHEN first_day = d THEN 1 ELSE 0 END) AS BIGINT) AS fresh, {_NO_WORDS}
FROM (SELECT DISTINCT d, user_id FROM <there> WHERE named = 1) AS named
LEFT JOIN ({_first_days("user")}) AS firsts ON user_id = whose
GROUP BY d
UNION ALL
SELECT 'day' AS what, d, CAST(count(*) AS BIGINT) AS n,
  CAST(sum(CASE WHEN old = 0 THEN 1 ELSE 0 END) AS BIGINT) AS fresh, {_NO_WORDS}
FROM (
  SELECT d, who, max(CASE WHEN first_day = d THEN 0 ELSE 1 END) AS old
  FROM (
    SELECT d, device_id, CASE WHEN its_anon <> '' THEN its_anon ELSE device_id END AS who
    FROM <hidden>
  ) AS them
  LEFT JOIN ({_first_days("device")}) AS firsts ON device_id = whose
  GROUP BY d, who
) AS identities
GROUP BY d
UNION ALL
SELECT 'all' AS what, CAST(0 AS BIGINT) AS d, CAST(count(DISTINCT user_id) AS BIGINT) AS n,
  CAST(0 AS BIGINT) AS fresh, {_NO_WORDS}
FROM <there> WHERE named = 1
UNION ALL
SELECT 'all' AS what, CAST(0 AS BIGINT) AS d, CAST(count(DISTINCT who) AS BIGINT) AS n,
  CAST(0 AS BIGINT) AS fresh, {_NO_WORDS}
FROM <nameless>
UNION ALL
SELECT 'with' AS what, CAST(0 AS BIGINT) AS d, CAST(count(*) AS BIGINT) AS n,
  CAST(0 AS BIGINT) AS fresh, a, b, c, e, f
FROM (
  SELECT user_id, {_LATEST} FROM <said> WHERE user_id <> '' GROUP BY user_id
) AS persons GROUP BY a, b, c, e, f
UNION ALL
SELECT 'with' AS what, CAST(0 AS BIGINT) AS d, CAST(count(*) AS BIGINT) AS n,
  CAST(0 AS BIGINT) AS fresh, a, b, c, e, f
FROM (
  SELECT who, {_LATEST} FROM (SELECT * FROM <said> WHERE user_id = '') AS theirs
  JOIN <nameless> ON device_id = device
  GROUP BY who
) AS persons GROUP BY a, b, c, e, f
"""  # noqa: S608 - of texts of our own

# Whether something happened at another time: one event is enough to know.
OUTSIDE = "SELECT ts FROM {events} WHERE app_id = $app AND (ts < $start OR ts >= $end) LIMIT 1"

BY_NAME = """
SELECT name, <day:ts> AS d, count(*) AS n FROM {events} WHERE {range} AND kind = $kind
GROUP BY name, d
"""

# What a row is called (docs/numbers.md, "Row names"). Not ``CASE kind WHEN``: ClickHouse 18.16
# makes that a ``transform``, whose results have to be constant.
ROW_NAME = """CASE WHEN kind = 'event' THEN name WHEN kind = 'init' THEN 'init'
  WHEN kind = 'error' THEN concat('error:', name) WHEN kind = 'userid' THEN 'nucleus:userid'
  WHEN kind = 'props' THEN 'nucleus:props' ELSE type END"""

ONE_EVENT = f"""
SELECT <day:ts> AS d, count(*) AS n FROM {{events}} WHERE {{range}} AND {ROW_NAME} = $event
GROUP BY d
"""  # noqa: S608 - of texts of our own

# The first character of a canonical JSON value tells its type.
PROPERTIES = f"""
SELECT DISTINCT {ROW_NAME} AS what, k, mark FROM (
  SELECT DISTINCT kind, name, type, k, substring(v, 1, 1) AS mark FROM (
    SELECT kind, name, type, {{pair_columns}} FROM {{events}} {{pair_join}} WHERE {{range}}
  ) AS pairs
) AS kinds
"""  # noqa: S608 - of texts of our own

VALUES = f"""
SELECT said, count(*) AS n FROM (
  SELECT {{attr|attr}} AS said FROM {{events}} WHERE {{range}} AND {ROW_NAME} = $event
) AS them
WHERE said <> '' GROUP BY said ORDER BY n DESC, said LIMIT $limit
"""  # noqa: S608 - of texts of our own
