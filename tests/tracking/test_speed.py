"""The quick road must be worth its while: a ratio, because machines differ."""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable

from tracking.events import Event, Limits
from tracking.lenient import read_event
from tracking.nucleus import parse_frame

EVENT = {
    "type": "event",
    "name": "build.finished",
    "id": "k3f9a2x7q2abcdefghijk",
    "date": "2026-11-21T01:34:28.124Z",
    "sessionId": 92160591,
    "payload": {
        "duration": 120,
        "track": "A song with a rather long name",
        "ok": True,
        "ratio": 0.25,
        "branch": "main",
        "more": "012345678",
    },
}
FRAME = json.dumps({"appId": "acme", "data": [EVENT] * 100}, separators=(",", ":")).encode()


def with_the_standard_library(raw: bytes) -> list[object]:
    """The same work by `json.loads`: decode, refuse a second key, write the payload down."""

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        built = dict(found)
        assert len(built) == len(found)
        return built

    events = json.loads(raw, object_pairs_hook=pairs)["data"]
    return [(e["name"], e["id"], json.dumps(e["payload"])) for e in events]


def element_by_element(raw: bytes) -> list[object]:
    found = [
        read_event(json.dumps(e), n, Limits(), require_ids=False)
        for n, e in enumerate(json.loads(raw)["data"])
    ]
    assert all(isinstance(event, Event) for event in found)
    return list(found)


def seconds(work: Callable[[bytes], object]) -> float:
    return min(timeit.repeat(lambda: work(FRAME), number=20, repeat=7))


def test_parsing_is_twice_as_fast_as_json_and_ten_times_the_patient_road() -> None:
    assert len(json.dumps(EVENT, separators=(",", ":"))) == 250
    assert len(parse_frame(FRAME).events) == 100
    quick = seconds(parse_frame)
    assert seconds(with_the_standard_library) > 2 * quick
    assert seconds(element_by_element) > 10 * quick
