"""The cluster that the soak stands on is one: four servers that know each other."""

from __future__ import annotations

import pytest
from clusters import NAME, Cluster
from servers import until

pytestmark = pytest.mark.soak


def test_a_row_written_to_one_replica_is_read_from_the_other(cluster: Cluster) -> None:
    one, other = cluster.nodes["01a"], cluster.nodes["01b"]
    one.ask(
        f"CREATE TABLE t ON CLUSTER {NAME} (x Int64)"
        " ENGINE = ReplicatedReplacingMergeTree('/test/{shard}/t', '{replica}') ORDER BY x"
    )
    one.ask("INSERT INTO t SELECT number FROM system.numbers LIMIT 7")
    until(lambda: other.ask("SELECT count() FROM t") == [(7,)], 10, "it was not replicated")
    assert cluster.nodes["02a"].ask("SELECT count() FROM t") == [(0,)]
    one.ask(
        f"CREATE TABLE all_t ON CLUSTER {NAME} AS t ENGINE = Distributed({NAME}, default, t, x)"
    )
    assert cluster.nodes["02b"].ask("SELECT count() FROM all_t") == [(7,)]
