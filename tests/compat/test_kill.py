"""The official clients at an agent that is killed, with a far end that is down at first.

Issue 4: nucleus-nodejs through the gateway and through the Unix socket, @bucketco/node-sdk and
tracking-sdk through the gateway, all unchanged. The far end is started late, the agent gets SIGKILL
while the client reports, and is started again. Of what the client was told is safe, everything is
at the far end once, counted through its Data API; of what it was not told, nothing is there twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import HOMING, Agent, Collector, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
EVENTS = 120
PAUSE_MS = 25


@pytest.fixture
def far_end(folder: Path) -> Iterator[Collector]:
    """A far end that knows the app ``bench`` and does not run yet."""
    collector = Collector(folder / "far")
    collector.add_app("bench")
    yield collector
    collector.stop()


@pytest.fixture
def agent(folder: Path, far_end: Collector) -> Iterator[Agent]:
    """An agent whose app ``bench`` reports to that far end, in both languages."""
    key = folder / "bench.key"
    key.write_text(json.loads(far_end.command("app", "secret", "bench"))["secretKey"])
    key.chmod(0o600)
    one = Agent(
        folder / "agent",
        '[[apps]]\nid = "bench"\nname = "bench"\nspeaks = ["nucleus", "bucket"]\n'
        f'[[apps.upstreams]]\nkind = "homing"\nendpoint = "{far_end.endpoint}"\n'
        f'key_file = "{key}"\n',
    )
    one.start()
    yield one
    one.stop()


def _gateway(agent: Agent) -> str:
    """Give the app a token, as a person does; return the gateway's address without a scheme."""
    done = subprocess.run(
        [*HOMING, "apps", "token", "bench", "--gateway", "--json"],
        env=agent.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    given = json.loads(done.stdout)
    return f"127.0.0.1:{given['port']}/t/{given['token']}"


def _accepted(agent: Agent) -> int:
    return int(agent.ledger("bench")["accepted"])


def _pending(agent: Agent) -> int:
    return int(agent.ledger("bench")["pending"])


def _survive(agent: Agent, far_end: Collector, client: Callable[[], subprocess.Popen[str]]) -> Any:
    """Run the client over a kill of the agent and a late far end; return what it says."""
    process = client()
    try:
        until(lambda: _accepted(agent) >= EVENTS // 6, 30, "nothing is accepted")
        assert agent.ledger("bench")["delivered"] == 0, "the far end is down"
        agent.kill()
        assert process.poll() is None, "the client ended before the agent was killed"
        time.sleep(0.3)  # the client reports to nobody meanwhile
        agent.start()
        before = _accepted(agent)
        until(lambda: _accepted(agent) > before, 30, "the client did not come back")
        far_end.start()
        out, err = process.communicate(timeout=80)  # ends its input, too
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, out[-2000:] + err[-2000:]
    until(lambda: _pending(agent) == 0, 40, "the outbox does not drain")
    ledger = agent.ledger("bench")
    assert (ledger["delivered"], ledger["dead"], ledger["lost"]) == (ledger["accepted"], 0, {})
    return json.loads(out.splitlines()[-1])


def _node(folder: Path, clients: Path, *words: str) -> subprocess.Popen[str]:
    home = folder / "home"
    env = {name: value for name, value in os.environ.items() if not name.startswith("BUCKET_")}
    env |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "NODE_ENV": "production"}
    return subprocess.Popen(
        ["node", str(HERE / words[0]), *words[1:]],
        env=env | {"NODE_PATH": str(clients)},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _counted(far_end: Collector) -> dict[str, int]:
    now = int(time.time() * 1000)
    path = f"/analytics/events?start={now - 86_400_000}&end={now + 60_000}"
    counted = far_end.data("bench", path)["data"]
    return {name: sum(days.values()) for name, days in counted.items()}


@pytest.mark.parametrize("way", ["gateway", "socket"])
def test_nucleus_nodejs_over_a_kill(
    way: str, clients: Path, folder: Path, agent: Agent, far_end: Collector
) -> None:
    endpoint = f"ws://{_gateway(agent)}" if way == "gateway" else f"ws+unix:{agent.socket}:"
    words = ("drive_nucleus.js", "bench", endpoint, str(EVENTS), str(PAUSE_MS))
    said = _survive(agent, far_end, lambda: _node(folder, clients, *words))
    assert said["unacknowledged"] == 0, "it was told that all are safe"
    assert len(said["stored"]) == EVENTS + 2
    arrived = far_end.export("bench")
    durations = sorted(one["payload"]["duration"] for one in arrived if one["type"] == "event")
    assert durations == [120 + n for n in range(EVENTS)]
    assert Counter(one["type"] for one in arrived) == {"init": 1, "event": EVENTS, "error": 1}
    assert _counted(far_end) == {"PLAYED_TRACK": EVENTS}


@pytest.mark.parametrize("sdk", ["node", "tracking"])
def test_a_bucket_client_over_a_kill(
    sdk: str, clients: Path, folder: Path, agent: Agent, far_end: Collector
) -> None:
    base = f"http://{_gateway(agent)}"
    key = "bench" if sdk == "tracking" else "no-secret-is-needed-here"
    words = ("drive_bucket_paced.js", sdk, key, base, "60")
    said = _survive(agent, far_end, lambda: _node(folder, clients, *words))
    assert len(said["safe"]) > EVENTS // 2
    assert said["unsure"], "the agent was away for a while, and these clients do not try again"
    arrived = Counter(
        one["payload"]["n"] for one in far_end.export("bench") if one["name"] == "Sent message ♥"
    )
    assert [n for n in said["safe"] if arrived[n] != 1] == []
    assert [n for n in said["unsure"] if arrived[n] > 1] == []
    assert set(arrived) <= {*said["safe"], *said["unsure"]}
    assert _counted(far_end) == {"Sent message ♥": sum(arrived.values())}
