"""A program with the Python client in it, which does as the lines of its standard input say."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "clients" / "python"))

from homing_client import Homing


class Rude:
    """Neither JSON nor polite."""

    def keys(self) -> Any:
        raise RuntimeError("no")

    __str__ = __repr__ = __iter__ = keys


def odd_payloads() -> list[Any]:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"in": deep}
    return [
        circle,
        deep,
        {"not": float("nan")},
        {"set": {1, 2}},
        {"lone": "\ud800"},
        {"large": "x" * 40_000},
        [1],
        "text",
        7,
        Rude(),
        {"rude": Rude()},
    ]


def main() -> None:
    told: list[str] = []
    client = Homing(os.environ.get("APP_ID", "bench"), debug=told.append)
    for line in sys.stdin:
        said = json.loads(line)
        answer: Any = None
        match said.pop("do"):
            case "track":
                took = []
                pad = "x" * said.get("pad", 0)
                for number in range(said.get("from", 0), said.get("from", 0) + said["count"]):
                    began = time.perf_counter()
                    client.track("step", {"n": number, "pad": pad, "by": said.get("by", 0)})
                    took.append(time.perf_counter() - began)
                    if said.get("pause_s") and number % 10 == 9:
                        time.sleep(said["pause_s"])
                took.sort()
                answer = {"p99_ms": took[len(took) * 99 // 100] * 1000, "max_ms": took[-1] * 1000}
            case "flush":
                answer = client.flush(said["s"])
            case "stats":
                answer = client.stats()
            case "told":
                answer = told
            case "identify":
                client.identify(said["user"])
            case "props":
                client.set_props(said["props"])
            case "error":
                try:
                    raise ValueError("that went wrong" + " and on" * said.get("long", 0))
                except ValueError as exc:
                    client.error("boom", exc, {"where": "here"})
            case "odd":
                for payload in odd_payloads():
                    client.track("odd", payload)
                client.error("odd", None, Rude())  # type: ignore[arg-type]
                client.set_props(Rude())  # type: ignore[arg-type]
                client.track(Rude())  # type: ignore[arg-type]
            case "close":
                client.close()
            case "exit":
                sys.exit(0)
            case "throw":
                raise RuntimeError("uncaught")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
