"""The questions about people: who there is, what is known of them, what they did last.

In the shared SQL; what the words mean: docs/numbers.md, "Users". A device is *nameless* if no event
of it, ever, names a userId; its anonymous identity is the greatest of its anonIds, else itself.
"""

from __future__ import annotations

# Bit 4 of the flags, Bucket's ``context.active: false``: it happened, and nobody was there.
ACTIVE = "CASE WHEN CAST(floor(flags / 4) AS BIGINT) % 2 = 1 THEN 0 ELSE ts END"

_IDENTITY = "CASE WHEN max(anon_id) <> '' THEN max(anon_id) ELSE device_id END"
NAMELESS = f"""
SELECT device_id AS device, {_IDENTITY} AS who FROM {{events}}
WHERE app_id = $app AND device_id <> '' GROUP BY device_id HAVING max(user_id) = ''
"""  # noqa: S608 - of texts of our own

# pairs: who was named on which device, from when to when; '' is nobody and no device.
PAIRS = {
    "pairs": f"""
      SELECT device_id, user_id, max(anon_id) AS anon, min(ts) AS since, max({ACTIVE}) AS last
      FROM {{events}} WHERE app_id = $app GROUP BY device_id, user_id
    """,  # noqa: S608 - of texts of our own
}
_STAYED = """
  SELECT device_id AS device, user_id AS named, max(last_ts) AS stayed FROM beat
  WHERE app_id = $app GROUP BY device_id, user_id
"""

# Everybody: kind (u, a), id, first sight, last seen; 0 is unknown.
EVERYBODY = f"""
SELECT 'u' AS what, who, CAST(max(born) AS BIGINT) AS first,
  CAST(max(seen_last) AS BIGINT) AS latest
FROM (
  SELECT user_id AS who, CAST(0 AS BIGINT) AS born,
    CASE WHEN coalesce(stayed, 0) > last THEN stayed ELSE last END AS seen_last
  FROM <pairs>
  LEFT JOIN ({_STAYED}) AS stays ON device_id = device AND user_id = named
  WHERE user_id <> ''
  UNION ALL
  SELECT id AS who, coalesce(min(CASE WHEN first_ts > 0 THEN first_ts END), 0) AS born,
    max(last_ts) AS seen_last
  FROM seen WHERE app_id = $app AND kind = 'user' GROUP BY id
) AS known GROUP BY who
UNION ALL
SELECT 'a' AS what, who, CAST(min(born) AS BIGINT) AS first,
  CAST(max(seen_last) AS BIGINT) AS latest
FROM (
  SELECT CASE WHEN its_anon <> '' THEN its_anon ELSE device_id END AS who, born,
    CASE WHEN coalesce(stayed, 0) > heard THEN stayed ELSE heard END AS seen_last
  FROM (
    SELECT device_id, max(anon) AS its_anon, min(since) AS born, max(last) AS heard FROM <pairs>
    WHERE device_id <> '' GROUP BY device_id HAVING max(user_id) = ''
  ) AS nameless
  LEFT JOIN (SELECT device, named, stayed FROM ({_STAYED}) AS every WHERE named = '') AS stays
    ON device_id = device
) AS hidden GROUP BY who
"""  # noqa: S608 - of texts of our own

_SAID_LAST = """
  max(ts) AS last,
  argMax(platform, (CASE WHEN platform <> '' THEN ts ELSE 0 END, platform)) AS a,
  argMax(os_version, (CASE WHEN os_version <> '' THEN ts ELSE 0 END, os_version)) AS b,
  argMax(version, (CASE WHEN version <> '' THEN ts ELSE 0 END, version)) AS c
"""
# A set of properties: props with a payload, or userid or init with one that has a key (A11).
_A_SET = """payload <> '' AND device_id <> '' AND (kind = 'props' OR (kind IN ('userid', 'init')
  AND replace(replace(replace(replace(payload, ' ', ''), $tab, ''), $line, ''), $return, '')
    <> $empty))"""
BLANKS = {"tab": "\t", "line": "\n", "return": "\r", "empty": "{}"}

# Of people, by userId or by device: what their devices are, stays there, and the sets they sent.
DEVICES_OF_USERS = f"""
SELECT user_id, device_id, {_SAID_LAST} FROM {{events}}
WHERE app_id = $app AND {{in|user_id|users}} AND device_id <> '' GROUP BY user_id, device_id
"""  # noqa: S608 - of texts of our own
DEVICES = f"""
SELECT '' AS nobody, device_id, {_SAID_LAST} FROM {{events}}
WHERE app_id = $app AND {{in|device_id|devices}} GROUP BY device_id
"""  # noqa: S608 - of texts of our own
STAYS_OF_USERS = """
SELECT user_id, device_id, max(last_ts) AS last FROM beat
WHERE app_id = $app AND {in|user_id|users} GROUP BY user_id, device_id
"""
STAYS_ON_DEVICES = """
SELECT user_id, device_id, max(last_ts) AS last FROM beat
WHERE app_id = $app AND {in|device_id|devices} AND user_id = '' GROUP BY user_id, device_id
"""
SETS_OF_USERS = f"""
SELECT user_id, device_id, max(ts) AS last, argMax(payload, (ts, recv_ts, payload)) AS sent
FROM {{events}} WHERE app_id = $app AND {{in|user_id|users}} AND {_A_SET}
GROUP BY user_id, device_id
"""  # noqa: S608 - of texts of our own
SETS_OF_DEVICES = f"""
SELECT '' AS nobody, device_id, max(ts) AS last, argMax(payload, (ts, recv_ts, payload)) AS sent
FROM {{events}} WHERE app_id = $app AND {{in|device_id|devices}} AND {_A_SET} GROUP BY device_id
"""  # noqa: S608 - of texts of our own
ATTRIBUTES = """
SELECT id, key, argMax(value, (ts, recv_ts, value)) AS said FROM attribute
WHERE app_id = $app AND kind = $kind AND {in|id|ids} GROUP BY id, key ORDER BY id, key
"""

IS_USER = "SELECT count(*) FROM seen WHERE app_id = $app AND kind = 'user' AND id = $wanted"
USER_BY_ID = """
SELECT DISTINCT id FROM seen
WHERE app_id = $app AND kind = 'user' AND substring({md5|concat($prefix, id)}, 1, 24) = $wanted
"""
HIDDEN_BY_ID = f"""
SELECT DISTINCT who FROM ({NAMELESS}) AS hidden
WHERE substring({{md5|concat($prefix, who)}}, 1, 24) = $wanted OR who = $wanted
"""  # noqa: S608 - of texts of our own
DEVICES_OF_HIDDEN = f"""
SELECT device, who FROM ({NAMELESS}) AS hidden WHERE {{in|who|hidden}} ORDER BY device
"""  # noqa: S608 - of texts of our own

# Devices on which a user was named, each with how many users ever were.
SHARED_DEVICES = """
SELECT device_id, count(DISTINCT user_id) AS users FROM {events}
WHERE app_id = $app AND user_id <> '' AND device_id IN (
  SELECT device_id FROM {events} WHERE app_id = $app AND user_id = $user AND device_id <> ''
) GROUP BY device_id ORDER BY device_id
"""
SIGHTS = """
SELECT id, min(first_ts) AS sight FROM seen
WHERE app_id = $app AND kind = 'device' AND first_ts > 0 AND {in|id|devices} GROUP BY id
"""
SESSION_DEVICES = """
SELECT DISTINCT device_id FROM {events}
WHERE app_id = $app AND session_id = $session AND device_id <> '' AND user_id = $user
"""
