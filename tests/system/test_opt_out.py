"""An opt-out outlives the agent that was asked for it: SIGKILL, a far end away and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import Agent, Collector, Process, ask_local, until
from collector.receipts import verify

CANARY = "cAnArY-of-the-opt-out"


def app(collector: Collector, token: Path) -> str:
    return (
        '[[apps]]\nid = "bench"\nname = "bench"\n[[apps.upstreams]]\nkind = "homing"\n'
        f'endpoint = "{collector.endpoint}"\ndata_api = "http://127.0.0.1:{collector.port}"\n'
        f'token_file = "{token}"\n'
    )


def residue(folder: Path) -> list[str]:
    """Return the files below a folder that hold the canary."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


@pytest.mark.system
@pytest.mark.timeout(120)
def test_row_49_a_killed_agent_still_has_the_far_end_delete(
    folder: Path, collector: Collector, ended: Callable[[Process], None]
) -> None:
    made = collector.command(
        "token", "add", "bench", "--scope", "users:delete", "--scope", "stats:read"
    )
    token = folder / "token"
    token.write_text(json.loads(made)["token"])
    token.chmod(0o600)
    agent = Agent(folder / "home", app(collector, token))
    ended(agent)
    collector.start()
    agent.start()
    for n in range(3):
        ask_local(agent.socket, "/v1/send", {"name": f"{CANARY}-{n}", "app_id": "bench"})
    until(lambda: agent.ledger("bench")["delivered"] == 4, 20, "not delivered")
    collector.kill()
    ask_local(agent.socket, "/v1/send", {"name": f"{CANARY}-late", "app_id": "bench"})

    gone = ask_local(agent.socket, "/v1/data/delete", {"app_id": "bench", "remote": True})
    assert gone["events"] == 1
    assert gone["left"] == []
    agent.kill()
    assert residue(folder / "home") == []

    collector.start()
    agent.start()

    def done() -> dict[str, Any] | None:
        (request,) = ask_local(agent.socket, "/v1/data/requests")["requests"]
        if request["state"] == "waiting":
            ask_local(agent.socket, "/v1/data/retry", {})
        return request if request["state"] == "done" else None

    request = until(done, 30, "the far end was not asked again")
    assert request["receipts"] == 1
    (raw,) = ask_local(agent.socket, f"/v1/data/receipts?id={request['id']}")["receipts"]
    _, stated = verify(raw.encode())
    assert stated["erased"]["events"] == 4
    assert [one for one in collector.export("bench") if CANARY in json.dumps(one)] == []
    assert residue(folder / "home") == []
