"""Whatever a rule takes away is in no file of the outbox, its write-ahead log included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.runtime.counter.screening import Screening
from tests.agent.rules.test_redaction import rule
from tests.agent.runtime.conftest import ORIGIN, Counter, make_desk
from tests.agent.runtime.test_screening import CANARY, PLANTED, TEXTS, VALUES
from tracking.bucket import parse_body


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Counter, Path]]:
    folder = tmp_path_factory.mktemp("canaries")
    box = Outbox.open(folder / "outbox.db", Bounds(), 1_795_225_137_848)
    desk = make_desk(box, "acme")
    desk.speaks = frozenset({"nucleus", "bucket"})
    yield Counter(box, {"acme": desk}), folder
    box.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    payload=st.dictionaries(TEXTS | PLANTED, VALUES, max_size=3),
    name=PLANTED,
    user=PLANTED,
    action=st.sampled_from(["drop", "drop_event", "mask", "hash"]),
)
def test_no_canary_gets_to_the_disk(
    on_disk: tuple[Counter, Path], payload: dict[str, object], name: str, user: str, action: str
) -> None:
    counter, folder = on_disk
    counter.intake.screening = Screening(
        [rule(pattern=CANARY, action=action)], key=lambda: b"k" * 32
    )
    kept = {"name": "kept", "id": len(counter.receipts)}
    said = [{"name": name, "id": name, "userId": user, "payload": payload}, kept]
    frame = json.dumps({"data": said}).encode()
    before = len(counter.stored())
    counter.say(frame)
    calls = [
        {"type": "event", "event": name, "userId": user, "attributes": payload, "more": payload},
        {"type": "user", "userId": user, "attributes": {}},
    ]
    batch = parse_body("bulk", json.dumps(calls).encode())
    counter.intake.take_calls("acme", batch, ORIGIN, counter.receipts.append)
    counter.intake.flush()
    assert [receipt.fault for receipt in counter.receipts[-2:]] == [None, None]
    assert len(counter.stored()) > before  # what no rule concerns is kept
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"outbox.db", "outbox.db-wal"}
    assert [path.name for path in files if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in str(counter.outbox.profile("acme"))
