"""The lines of a file as events: ids that stay, bytes that stay, and what cannot be used."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from agent.cli.ndjson import Bad, Heartbeat, Item, batches, digest, read
from tracking.events import Limits


def found(content: bytes, app_id: str | None = "app") -> list[Any]:
    """Read a file's content."""
    stream = io.BytesIO(content)
    return list(read(stream, file_hash=digest(stream), app_id=app_id))


def test_ids_come_from_the_file_the_line_and_the_place() -> None:
    content = b'{"name":"a"}\n{"name":"a"}\n{"data":[{"name":"a"},{"name":"a"}]}\n'
    ids = [item.id for item in found(content)]
    assert len(set(ids)) == 4
    assert ids == [item.id for item in found(content)]
    assert not set(ids) & {item.id for item in found(content + b'{"name":"b"}\n')}
    assert all(len(made) == 20 for made in ids)


def test_an_event_keeps_its_own_bytes_behind_its_new_id() -> None:
    (item,) = found(b'  {"name":"a",  "payload":{"x":1.50}}  \n')
    assert item.raw == b'{"id":"%s","name":"a",  "payload":{"x":1.50}}' % item.id.encode()


@pytest.mark.parametrize("own", ['"k3f9"', "42", "0.5", "3.0"])
def test_an_id_of_its_own_is_kept_and_known_again_in_the_answer(own: str) -> None:
    (item,) = found(b'{"id":%s,"name":"a"}\n' % own.encode())
    assert item.raw == b'{"id":%s,"name":"a"}' % own.encode()
    assert item.id in {own.strip('"'), "3"}


def test_an_id_that_is_null_is_replaced() -> None:
    (item,) = found(b'{"id":null,"name":"a"}\n')
    assert json.loads(item.raw) == {"id": item.id, "name": "a"}


def test_a_line_without_an_app_needs_one() -> None:
    (bad,) = found(b'{"name":"a"}\n', None)
    assert isinstance(bad, Bad)
    assert "--app" in bad.why


def test_a_heartbeat_is_a_state_and_not_imported() -> None:
    assert found(b'{"type":"heartbeat","machineId":"m"}') == [Heartbeat(line=1)]


def test_a_line_without_an_end_is_cut_off_not_kept_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.cli.ndjson.LARGEST", Limits(frame_bytes=100))
    monkeypatch.setattr("agent.cli.ndjson.CHUNK_BYTES", 64)
    bad, item = found(b"x" * 1000 + b"\n" + b'{"name":"after"}\n')
    assert (bad.line, item.line) == (1, 2)


def test_batches_keep_order_and_stay_within_500_events_and_256_kib() -> None:
    big = [Item(line=n, app_id="a", id=str(n), raw=b"{" + b"x" * 100_000 + b"}") for n in range(5)]
    small = [Item(line=n, app_id="b", id=str(n), raw=b"{}") for n in range(501)]
    made = list(batches(iter([*big, *small])))
    assert [len(batch.items) for batch in made] == [2, 2, 1, 500, 1]
    assert [batch.app_id for batch in made] == ["a", "a", "a", "b", "b"]
    assert all(len(batch.frame()) < 257 * 1024 for batch in made)


def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it() -> None:
    first, bad = found(b'\xef\xbb\xbf{"name":"a"}\r\n\xef\xbb\xbf{"name":"b"}')
    assert isinstance(first, Item)
    assert isinstance(bad, Bad)
