"""Both ends still agree after the agent was killed again and again while it delivered."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import Agent, Collector, Process, ask_local, until

EVENTS, KILLS = 400, 4


@pytest.mark.system
@pytest.mark.timeout(120)
def test_kills_in_the_middle_count_nothing_twice_and_nothing_short(
    folder: Path, collector: Collector, ended: Callable[[Process], None]
) -> None:
    made = collector.command("token", "add", "bench", "--scope", "stats:read")
    token = folder / "token"
    token.write_text(json.loads(made)["token"])
    token.chmod(0o600)
    agent = Agent(
        folder / "home",
        '[[apps]]\nid = "bench"\nname = "bench"\n[[apps.upstreams]]\nkind = "homing"\n'
        f'endpoint = "{collector.endpoint}"\ndata_api = "http://127.0.0.1:{collector.port}"\n'
        f'token_file = "{token}"\n',
    )
    ended(agent)
    collector.start()
    told = 0
    for life in range(KILLS):
        agent.start()
        for part in range(4):
            data = [{"name": f"E{life}.{part}.{n}"} for n in range(EVENTS)]
            with contextlib.suppress(OSError, ValueError):
                said = ask_local(agent.socket, "/app/bench/track", {"data": data})
                told += EVENTS if "reportedIds" in said else 0
        agent.kill()
    agent.start()
    until(lambda: agent.ledger("bench")["pending"] == 0, 30, "not delivered")
    ledger = agent.ledger("bench")
    assert ledger["balanced"]
    assert ledger["delivered"] >= told == KILLS * 4 * EVENTS

    def compared() -> dict[str, Any] | None:
        (way,) = ask_local(agent.socket, "/v1/reconcile", {})["ways"]
        return way if way["verdict"] != "nothing" else None

    way = until(compared, 30, "nothing to compare")
    assert way["hours"] == []
    assert way["verdict"] == "equal"
    assert way["held"] == way["confirmed"] == ledger["delivered"] == len(collector.export("bench"))
