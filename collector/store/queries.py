"""What the embedded engine is asked by itself; every value is bound by name.

What is asked of either engine stands in the other modules of questions.
"""

from __future__ import annotations

NEWEST = """
WITH e AS MATERIALIZED (
  SELECT * FROM events WHERE app_id = $app AND recv_ts >= $since
  ORDER BY recv_ts DESC, ts DESC, key_a LIMIT $limit
)
SELECT e.*, coalesce(d.first_ts = e.ts, false) AS first_time
FROM e
LEFT JOIN (
  SELECT id, min(first_ts) AS first_ts FROM seen
  WHERE app_id = $app AND kind = 'device' AND first_ts > 0 AND id IN (SELECT device_id FROM e)
  GROUP BY id
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
