"""A fleet on paper: what a number of agents costs, and how it comes back after a cut.

    python -m benchmarks.fleet [--agents 1000000] [--measure] [--json FILE]

Computed from a few figures of one machine (:class:`Measured`; ``--measure`` takes them here, now,
with ``--hold`` connections). The storm is simulated agent by agent, with the agent's own rule for
waiting (agent.rules.backoff), against processes that can shake so many hands a second.

    cut ──► wait (0 .. ceiling) ──► queue of the process ──► connected
             ▲                        │ full: no answer
             └──── ceiling × 2 ◄──────┘ until the dial's patience ends
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent.rules.backoff import Backoff

TICK_S = 0.1
BACKLOG = (
    2_048  #: Connections that the kernel keeps for a process that is busy (uvicorn's default).
)
PATIENCE_S = 10.0  #: How long a dial waits for an answer.
#: Events by the hour of the day in one time zone, as in benchmarks/dataset.py.
HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 18, 16, 12, 15, 17, 17, 15, 12, 9, 9, 10, 8, 5, 3)


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one collector process on one machine; the defaults are those of docs/scaling.md."""

    kb_per_connection: float = 30.4
    us_per_heartbeat: float = 484.0
    us_per_event: float = 35.0
    dials_per_s: float = 1_190.0
    events_per_s: float = 25_000.0
    held: int = 10_000  #: Connections of the measurement that these figures come from.
    base_mb: float = 50.0


@dataclass(frozen=True, slots=True)
class Wire:
    """Bytes on the wire, with what WebSocket, TCP and IP add, without TLS."""

    heartbeat_in: int = 133 + 8 + 52
    heartbeat_out: int = 18 + 2 + 52
    event_in: int = 330
    event_out: int = 24
    acknowledged_tcp: int = 52  #: A bare TCP acknowledgement in either direction.
    ping_out: int = 2 + 52
    pong_in: int = 6 + 52
    ping_s: float = 30.0  #: The collector's ``ping_s``.


@dataclass(frozen=True, slots=True)
class Fleet:
    """Agents, and how people use them.

    Attributes:
        zones: Over how many hours of time zones they are spread; 1 is the worst.

    """

    agents: int
    online: float = 1.0
    events_per_day: float = 50.0
    heartbeat_s: float = 60.0
    zones: int = 1
    stored_bytes: float = (
        93.0  #: Of one event in DuckDB's file, of benchmarks/dataset.py at a million.
    )

    def peak(self) -> float:
        """Return how much more the busiest hour has than the mean."""
        summed = [
            sum(HOURS[(hour + zone) % 24] for zone in range(self.zones)) for hour in range(24)
        ]
        return max(summed) / (sum(summed) / 24)


def steady(fleet: Fleet, one: Measured, wire: Wire) -> dict[str, float]:
    """Return what the fleet costs while nothing happens: computed, not measured."""
    online = fleet.agents * fleet.online
    beats = online / fleet.heartbeat_s
    events = fleet.agents * fleet.events_per_day / 86_400
    peak = events * fleet.peak()
    bytes_in = beats * (wire.heartbeat_in + wire.acknowledged_tcp) + peak * wire.event_in
    bytes_out = beats * wire.heartbeat_out + peak * wire.event_out
    bytes_in += online / wire.ping_s * wire.pong_in
    bytes_out += online / wire.ping_s * wire.ping_out
    cpu = (beats * one.us_per_heartbeat + peak * one.us_per_event) / 1e6
    by_held = online / one.held
    return {
        "heartbeats_per_s": beats,
        "events_per_s_mean": events,
        "events_per_s_peak": peak,
        "mbit_in": bytes_in * 8 / 1e6,
        "mbit_out": bytes_out * 8 / 1e6,
        "cores": cpu,
        "connections_gb": online * one.kb_per_connection / 1e6,
        # A process may be half busy, so that it can take a neighbour's agents as well.
        "processes": math.ceil(max(by_held, cpu / 0.5)),
        "store_gb_per_day": events * 86_400 * fleet.stored_bytes / 1e9,
        "store_share_of_one_writer": peak / one.events_per_s,
    }


def storm(
    agents: int,
    processes: int,
    dials_per_s: float,
    wait: Callable[[int, random.Random], float],
    *,
    seed: int = 1,
    limit_s: float = 3_600.0,
) -> dict[str, float]:
    """Cut everybody off at once; return how they come back, in seconds since the cut.

    Args:
        agents: How many.
        processes: That shake hands.
        dials_per_s: Of one process.
        wait: How long an agent waits before attempt n, from 0.
        seed: Of chance.
        limit_s: When we stop looking.

    """
    dice = random.Random(seed)
    due: defaultdict[int, list[int]] = defaultdict(list)  # by tick: attempts of those who dial
    for _ in range(agents):
        due[int(wait(0, dice) / TICK_S)].append(0)
    queue: deque[int] = deque()
    room = BACKLOG * processes
    at: dict[float, float] = {}
    connected = dials = peak = 0
    credit = 0.0
    for tick in range(int(limit_s / TICK_S)):
        now = due.pop(tick, [])
        dials += len(now)
        peak = max(peak, len(now))
        for attempt in now:
            if len(queue) < room:
                queue.append(attempt)
            else:
                again = PATIENCE_S + wait(attempt + 1, dice)
                due[tick + max(1, int(again / TICK_S))].append(attempt + 1)
        credit = min(credit, 1.0) + processes * dials_per_s * TICK_S
        served = min(len(queue), int(credit))
        credit -= served
        for _ in range(served):
            queue.popleft()
        connected += served
        for share in (0.5, 0.9, 0.99, 1.0):
            if share not in at and connected >= share * agents:
                at[share] = (tick + 1) * TICK_S
        if connected == agents:
            break
    never = float("inf")
    return {
        "half_s": at.get(0.5, never),
        "p90_s": at.get(0.9, never),
        "p99_s": at.get(0.99, never),
        "all_s": at.get(1.0, never),
        "ideal_s": agents / (processes * dials_per_s) if processes else never,
        "dials_each": dials / agents,
        "peak_dials_per_s": peak / TICK_S,
    }


def full_jitter(cap_s: float = 300.0) -> Callable[[int, random.Random], float]:
    """Return the agent's own rule."""
    rule = Backoff(cap_s=cap_s)
    return lambda attempt, dice: rule.wait_s(attempt, dice.random)


def no_jitter(attempt: int, dice: random.Random) -> float:
    """Every 20 seconds, all together: what official clients do."""
    del attempt, dice
    return 20.0


def drained(spread_s: float) -> Callable[[int, random.Random], float]:
    """Return how they come who were sent away one by one, and then wait as they always do."""
    rule = full_jitter()
    return lambda attempt, dice: (
        rule(attempt, dice) + (dice.random() * spread_s if attempt == 0 else 0.0)
    )


def measure(hold: int) -> Measured:
    """Take the figures on this machine."""
    from benchmarks.collector_ingest import Crowd, connections, ingest

    with tempfile.TemporaryDirectory(prefix="hb-") as name:
        memory, beats = connections(Path(name), count=hold, seconds=20)
        (took,) = ingest(Path(name), runs=2, seconds=3, crowds=(Crowd(100, 100),))
    opened = float(memory.note.rsplit(" ", 1)[1].removesuffix("/s").replace(",", ""))
    base = float(memory.note.split()[1]) - memory.median * hold / 1024
    return Measured(
        kb_per_connection=memory.median,
        us_per_heartbeat=beats.median / 100 / (hold / 60) * 1e6,
        us_per_event=float(took.note.split()[0]),
        dials_per_s=opened,
        events_per_s=took.median,
        held=hold,
        base_mb=base,
    )


def main() -> int:
    """Print the paper."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--agents", type=int, default=1_000_000)
    parser.add_argument("--measure", action="store_true", help="take the figures here, now")
    parser.add_argument("--hold", type=int, default=10_000, help="connections to measure with")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    args = parser.parse_args()
    one, wire = Measured(), Wire()
    if args.measure:
        one = measure(args.hold)
    print("measured" if args.measure else "measured earlier (docs/scaling.md)")
    for key, value in asdict(one).items():
        print(f"  {key:28}{value:14,.1f}")
    told: dict[str, object] = {"measured": asdict(one)}
    sizes = [size for size in (1, 1_000, 10_000, 100_000, 1_000_000) if size < args.agents]
    for agents in (*sizes, args.agents):
        costs = steady(Fleet(agents), one, wire)
        told[f"steady {agents}"] = costs
        print(f"computed: {agents:,} agents, all online")
        for key, value in costs.items():
            print(f"  {key:28}{value:14,.2f}")
    costs = steady(replace(Fleet(args.agents), zones=12), one, wire)
    print(f"  peak with 12 time zones     {costs['events_per_s_peak']:14,.2f}")
    processes = int(steady(Fleet(args.agents), one, wire)["processes"])
    for what, rule in (
        ("full jitter, 1 s to 300 s", full_jitter()),
        ("sent away over 60 s, then full jitter", drained(60.0)),
        ("every 20 s without jitter", no_jitter),
    ):
        result = storm(args.agents, processes, one.dials_per_s, rule)
        told[what] = result
        print(f"simulated: all cut at once, {processes} processes, {what}")
        for key, value in result.items():
            print(f"  {key:28}{value:14,.1f}")
    if args.json:
        args.json.write_text(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
