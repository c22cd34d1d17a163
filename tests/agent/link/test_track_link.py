"""Nucleus over HTTP: the notices are those of a WebSocket, whatever the far end answers."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator

import pytest
from far_ends import RawFarEnd
from http_ends import Answers, Request, response

from agent.adapters.links.track_link import TrackLink
from agent.adapters.links.websocket_link import Died
from agent.rules.notices import Lost, Notice, Opened, Received
from tracking.errors import Refused, Throttled, Unreachable

RawFarEnds = Callable[..., RawFarEnd]
OK = response(b'{"reportedIds":[]}')


class Talk:
    def __init__(self) -> None:
        self.notices: queue.Queue[Notice | Died] = queue.Queue()
        self.link = TrackLink("test", self.notices.put, dial_s=3.0, answer_s=5.0)

    def next(self) -> Notice | Died:
        return self.notices.get(timeout=5)

    def silent(self) -> bool:
        try:
            self.notices.get(timeout=0.15)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    assert made.link.stop(), "a link's thread did not end in 2 s"


def url_of(far_end: RawFarEnd) -> str:
    return f"http://127.0.0.1:{far_end.port}/app/acme/track"


def golden(request: Request) -> bytes:
    ids = [event["id"] for event in request.json()["data"] if "id" in event]
    return response(json.dumps({"reportedIds": ids, "anonId": "xfQDpOf5gU2R"}).encode())


def test_a_dial_opens_with_an_answer_and_frames_are_answered_in_order(
    talk: Talk, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(answers := Answers([golden]))
    talk.link.dial(1, url_of(there))
    talk.link.heartbeat(1, b'{"data":[{"type":"heartbeat"}]}')
    for n in range(3):
        talk.link.send(1, b'{"data":[{"id":"e%d"}]}' % n)
    talk.link.ping(1)
    assert talk.next() == Opened(1)
    received = [talk.next() for _ in range(5)]
    assert all(isinstance(one, Received) for one in received)
    assert [one.ids for one in received if isinstance(one, Received)] == [
        (), ("e0",), ("e1",), ("e2",), (),
    ]  # fmt: skip
    assert isinstance(received[1], Received)
    assert received[1].anon_id == "xfQDpOf5gU2R"
    assert [one.path for one in answers.requests] == ["/app/acme/track"] * 6
    assert answers.requests[0].json() == {"data": []}
    assert there.accepted == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (response(b'{"error":"no such app","reportedIds":[]}', "404 Not Found"), Refused),
        (response(b"{}", "401 Unauthorized"), Refused),
        (response(b"{}", "429 Too Many", "Retry-After: 7"), Throttled),
        (response(b"<h1>oops</h1>", "500 Oops"), Unreachable),
        (response(b"<html>Hotel Wi-Fi</html>"), Unreachable),
        (response(b""), Unreachable),
        (response(b'{"success":true}'), Unreachable),
        (None, Unreachable),
    ],
)
def test_what_is_no_tracking_endpoints_answer_never_opens(
    talk: Talk, raw_far_end: RawFarEnds, answer: bytes | None, kind: type
) -> None:
    talk.link.dial(1, url_of(raw_far_end(Answers([answer]))))
    lost = talk.next()
    assert isinstance(lost, Lost)
    assert type(lost.fault) is kind
    assert talk.silent()


def test_a_refusal_that_names_ids_acknowledges_them(talk: Talk, raw_far_end: RawFarEnds) -> None:
    bad = response(b'{"error":"too long","reportedIds":["e1"]}', "400 Bad Request")
    talk.link.dial(1, url_of(raw_far_end(Answers([OK, bad]))))
    talk.link.send(1, b'{"data":[{"id":"e1"}]}')
    assert talk.next() == Opened(1)
    received = talk.next()
    assert isinstance(received, Received)
    assert received.ids == ("e1",)


def test_an_answer_that_is_none_ends_the_dial_once_and_the_rest_is_dropped(
    talk: Talk, raw_far_end: RawFarEnds
) -> None:
    answers = Answers([OK, response(b"{}", "500 Oops"), OK])
    there = raw_far_end(answers)
    talk.link.dial(1, url_of(there))
    for _ in range(4):
        talk.link.send(1, b'{"data":[{"id":"e1"}]}')
    assert talk.next() == Opened(1)
    assert isinstance(talk.next(), Lost)
    assert talk.silent()
    assert len(answers.requests) == 2
    talk.link.dial(2, url_of(there))
    assert talk.next() == Opened(2)


def test_nothing_is_heard_of_a_dial_that_was_hung_up(talk: Talk, raw_far_end: RawFarEnds) -> None:
    there = raw_far_end(Answers([OK]))
    talk.link.dial(1, url_of(there))
    assert talk.next() == Opened(1)
    talk.link.hang_up(1)
    talk.link.send(1, b'{"data":[]}')
    assert talk.silent()
