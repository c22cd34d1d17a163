"""What leaves is what was said, with the gaps filled: the strict column of NUCLEUS.md §5."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.rules.stamp import Identity, MachineFacts, Plain, opening, stamp
from tracking.events import Event, Kind
from tracking.nucleus import parse_frame

IDENTITY = Identity(device_id="d" * 24, anon_id="xfQDpOf5gU2R")
FACTS = MachineFacts(platform="linux", os_version="12", total_ram=24, language="pl-PL", arch="x64")
NOW_MS = 1_795_225_137_848
WIRE_ID = "k3f9a2x7q1k3f9a2x7q1k3f9"


def stamped(event: Event) -> bytes:
    return stamp(
        event,
        wire_id=WIRE_ID,
        received_ms=NOW_MS,
        session_id=4711,
        identity=IDENTITY,
        facts=FACTS,
        version="1.2.3",
        module_version="0.1.0",
    )


@given(
    name=st.text(min_size=1, max_size=40).filter(
        lambda s: not any(0xD800 <= ord(c) < 0xE000 for c in s)
    ),
    date_ms=st.none() | st.integers(min_value=0, max_value=4_102_444_800_000),
    payload=st.none() | st.dictionaries(st.text("abc", max_size=3), st.integers(0, 9), max_size=3),
)
def test_the_quick_way_writes_the_same_bytes_as_the_long_one(
    name: str, date_ms: int | None, payload: dict[str, int] | None
) -> None:
    raw = None if payload is None else json.dumps(payload).encode()
    event = Event(kind=Kind.EVENT, type="event", name=name, date_ms=date_ms, payload=raw)
    plain = Plain(session_id=4711, identity=IDENTITY, received_ms=NOW_MS)
    assert plain.stamp(event, WIRE_ID) == stamped(event)


def test_an_event_that_says_more_takes_the_long_way() -> None:
    plain = Plain(session_id=4711, identity=IDENTITY, received_ms=NOW_MS)
    for more in (
        {"user_id": "u"},
        {"session_id": "7"},
        {"anon_id": "a"},
        {"device_id": "d"},
        {"client": "js"},
        {"module_version": "1"},
    ):
        event = Event(kind=Kind.EVENT, type="event", name="n", **more)  # type: ignore[arg-type]
        assert plain.stamp(event, WIRE_ID) is None
        assert json.loads(stamped(event))["name"] == "n"


def test_a_payload_leaves_byte_for_byte() -> None:
    payload = b'{"big": 12345678901234567, "f":1.50, "n":null, "u":"\\u00e9\xc3\xa9"}'
    event = Event(kind=Kind.EVENT, type="event", name="n", payload=payload)
    assert payload in stamped(event)


def test_the_senders_words_win_over_ours() -> None:
    event = Event(
        kind=Kind.EVENT,
        type="event",
        name="n",
        session_id="315091",
        device_id="0035969e",
        machine_id="0035969e",
        anon_id="own",
        user_id="richard",
        date_ms=NOW_MS - 1000,
    )
    said = json.loads(stamped(event))
    assert said["sessionId"] == 315091
    assert (said["deviceId"], said["machineId"]) == ("0035969e", "0035969e")
    assert (said["anonId"], said["userId"]) == ("own", "richard")
    assert said["date"] == "2026-11-21T01:38:56.848Z"
    assert said["id"] == WIRE_ID  # never the sender's own: acknowledgements must be unguessable


def test_an_init_of_ours_tells_the_facts_that_the_seed_requires() -> None:
    raw = opening(
        wire_id=WIRE_ID,
        date_ms=NOW_MS,
        session_id=4711,
        identity=IDENTITY,
        user_id=None,
        facts=FACTS,
        version="",
        module_version="0.1.0",
    )
    said = json.loads(raw)
    assert said["type"] == "init"
    assert said["sessionId"] == 4711
    assert (said["platform"], said["osVersion"], said["totalRam"]) == ("linux", "12", 24)
    assert (said["version"], said["language"], said["client"]) == ("0.0.0", "pl-PL", "homing")
    frame = parse_frame(b'{"data":[' + raw + b"]}")
    assert not frame.refused
    assert frame.events[0].kind is Kind.INIT


def test_facts_that_the_app_told_are_kept_and_missing_ones_filled_in_on_an_error() -> None:
    event = Event(kind=Kind.ERROR, type="error", name="boom", platform="Darwin", client="nodejs")
    said = json.loads(stamped(event))
    assert (said["platform"], said["client"]) == ("Darwin", "nodejs")
    assert (said["osVersion"], said["totalRam"], said["version"]) == ("12", 24, "1.2.3")
