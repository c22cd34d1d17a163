"""The questions, in SQL that both engines speak.

Derived tables, integer milliseconds, no dialect's date functions; every value is bound by name.
What the words mean stands in NUCLEUS.md §6: *users(interval)* are the distinct userIds seen in
it, and the anonymous identities (anonId, else device) of those devices that named no user in it.
"""

from __future__ import annotations

# One device is one anonymous identity, also when only some of its events carry the anonId, or when
# a client makes a new one at each launch.
USERS = """
SELECT
  (SELECT count(DISTINCT user_id) FROM events
   WHERE app_id = $app AND ts >= $start AND ts < $end AND user_id <> '')
  +
  (SELECT count(DISTINCT CASE WHEN anon_id <> '' THEN anon_id ELSE device_id END) FROM (
     SELECT device_id, max(anon_id) AS anon_id FROM events
     WHERE app_id = $app AND ts >= $start AND ts < $end
     GROUP BY device_id HAVING max(user_id) = ''
   ) AS nameless)
"""

STARTS_AND_ERRORS = """
SELECT
  coalesce(sum(CASE WHEN kind = 'init' AND ts >= $middle THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN kind = 'error' AND ts >= $middle THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN kind = 'init' AND ts < $middle THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN kind = 'error' AND ts < $middle THEN 1 ELSE 0 END), 0)
FROM events WHERE app_id = $app AND ts >= $start AND ts < $end AND kind IN ('init', 'error')
"""

INSTALLS = """
SELECT
  coalesce(sum(CASE WHEN first_ts >= $middle THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN first_ts < $middle THEN 1 ELSE 0 END), 0)
FROM (
  SELECT id, min(first_ts) AS first_ts FROM seen
  WHERE app_id = $app AND kind = 'device' AND first_ts > 0 GROUP BY id
) AS firsts
WHERE first_ts >= $start AND first_ts < $end
"""

NEWEST = """
SELECT e.*, coalesce(d.first_ts = e.ts, false) AS first_time
FROM (
  SELECT * FROM events WHERE app_id = $app AND recv_ts >= $since
  ORDER BY recv_ts DESC, ts DESC, key_a LIMIT $limit
) AS e
LEFT JOIN (
  SELECT id, min(first_ts) AS first_ts FROM seen
  WHERE app_id = $app AND kind = 'device' AND first_ts > 0 GROUP BY id
) AS d ON d.id = e.device_id
ORDER BY e.recv_ts DESC, e.ts DESC, e.key_a
"""

# In the order of arrival, which the embedded engine keeps; a sort would need the memory of all.
EXPORT = "SELECT * FROM events WHERE app_id = $app"

COUNT = "SELECT count(*) FROM events WHERE app_id = $app"

KNOWN = """
SELECT key_a, key_b FROM events
WHERE said_ts >= $low AND said_ts <= $high AND key_a IN (SELECT unnest($keys))
"""

# What a window remembers (collector.store.window); a superset costs nothing.
RECENT = """
SELECT recv_ts, said_ts, key_a FROM events WHERE recv_ts >= $since OR said_ts >= $since
"""
