"""The thread that asks over HTTP, against far ends of every temper, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from far_ends import Authority, RawFarEnd, hold
from http_ends import SUCCESS, Answers, Asker, read_question, response

from agent.adapters.http_link import Answered
from agent.adapters.http_wire import BODY_BYTES, Question
from agent.rules.notices import Lost
from tracking.errors import SecretFault, Unproven, Unreachable

Askers = Callable[..., Asker]
RawFarEnds = Callable[..., RawFarEnd]


@pytest.fixture
def asker() -> Iterator[Callable[..., Asker]]:
    made: list[Asker] = []

    def make(far_end: RawFarEnd, **limits: object) -> Asker:
        made.append(Asker(f"http://127.0.0.1:{far_end.port}", **limits))
        return made[-1]

    yield make
    ended = [one.link.stop() for one in made]
    assert all(ended), "a link's thread did not end in 2 s"


# --- as it should be -----------------------------------------------------------------------------


def test_a_question_is_one_plain_post_and_the_connection_is_kept(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(answers := Answers([response()]))
    here = asker(there)
    for _ in range(3):
        answered = here.answered(b'[{"a":1}]')
        assert (answered.answer.status, answered.answer.body) == (200, SUCCESS)
    assert there.accepted == 1
    first = answers.requests[0]
    assert (first.method, first.path, first.body) == ("POST", "/bulk", b'[{"a":1}]')
    assert first.headers == {
        "host": f"127.0.0.1:{there.port}",
        "user-agent": "homing",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": "9",
        "idempotency-key": "k",
    }
    assert here.link.sent_bytes == 27
    assert here.link.received_bytes == 3 * len(SUCCESS)


def test_the_peer_of_an_answer_is_named_with_its_certificate(
    authority: Authority, raw_far_end: RawFarEnds
) -> None:
    context = authority.server()
    answers = Answers([response()])

    def behave(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            answers(tls)

    there = raw_far_end(behave)
    here = Asker(f"https://localhost:{there.port}", ca_file=authority.ca_file)
    try:
        peer = here.answered().peer
    finally:
        assert here.link.stop()
    address, version, fingerprint = peer.split(" ")
    assert address == f"127.0.0.1:{there.port}"
    assert version == "TLSv1.3"
    assert fingerprint.startswith("sha256:")
    assert len(fingerprint) == len("sha256:") + 32


def test_a_certificate_that_proves_nothing_gets_no_question(
    authority: Authority, raw_far_end: RawFarEnds
) -> None:
    context = authority.server(self_signed=True)
    heard: list[bytes] = []

    def behave(sock: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(sock, server_side=True) as tls:
            heard.append(tls.recv(1))

    there = raw_far_end(behave)
    here = Asker(f"https://localhost:{there.port}", ca_file=authority.ca_file)
    here.ask(b'{"userId":"u"}')
    try:
        posted = here.next()
    finally:
        assert here.link.stop()
    assert isinstance(posted, Lost)
    assert isinstance(posted.fault, Unproven)
    assert not any(heard)


def test_a_connection_closed_while_nobody_spoke_costs_nothing(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(answers := Answers([response(SUCCESS, "200 OK", "Connection: close")]))
    here = asker(there)
    for _ in range(3):
        here.answered()
    assert there.accepted == 3
    assert len(answers.requests) == 3


def test_a_connection_closed_under_the_question_is_asked_anew_once(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    """The far end closes when it has read the second question, and never says a word to it."""
    there = raw_far_end(answers := Answers([response(), None, response()]))
    here = asker(there)
    here.answered(b'{"n":1}')
    answered = here.answered(b'{"n":2}')
    assert answered.answer.status == 200
    assert [one.body for one in answers.requests] == [b'{"n":1}', b'{"n":2}', b'{"n":2}']
    assert there.accepted == 2


def test_a_new_connection_closed_without_a_word_is_lost_at_once(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(answers := Answers([None]))
    here = asker(there)
    assert here.lost() == "the far end hung up without a word"
    assert len(answers.requests) == 1


# --- hostile -------------------------------------------------------------------------------------


def drip(sock: socket.socket) -> None:
    read_question(sock)
    for byte in response(b"x" * 1000):
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


def test_a_drip_ends_with_the_deadline(asker: Askers, raw_far_end: RawFarEnds) -> None:
    since = time.monotonic()
    assert "took longer than 0.5 s" in asker(raw_far_end(drip)).lost()
    assert time.monotonic() - since < 2


def test_silence_ends_with_the_deadline(asker: Askers, raw_far_end: RawFarEnds) -> None:
    assert "took longer than 0.5 s" in asker(raw_far_end(hold)).lost()


def test_a_body_without_end_is_cut_and_the_status_counts(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    def behave(sock: socket.socket) -> None:
        read_question(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    here = asker(raw_far_end(behave), answer_s=5.0)
    answer = here.answered().answer
    assert (answer.status, len(answer.body), answer.whole) == (200, BODY_BYTES, False)


def test_a_body_in_ever_smaller_chunks_is_cut_by_what_it_weighs(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    def behave(sock: socket.socket) -> None:
        read_question(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sock.sendall(b"1;ext=" + b"y" * 500 + b"\r\nx\r\n")

    answer = asker(raw_far_end(behave), answer_s=10.0).answered().answer
    assert not answer.whole


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "1xx without end", id="a 1xx flood"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "breaks the HTTP protocol",
            id="another protocol unasked",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"p" * 40_000,
            "has no end",
            id="a head without end",
        ),
        pytest.param(b"+OK POP3 ready\r\n", "breaks the HTTP protocol", id="another language"),
        pytest.param(
            response(SUCCESS, length=100), "breaks the HTTP protocol", id="closed in mid-body"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            "breaks the HTTP protocol",
            id="a length below nothing",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nContent-Length: 3\r\n\r\n" + SUCCESS,
            "breaks the HTTP protocol",
            id="two lengths",
        ),
    ],
)
def test_what_is_no_answer_is_lost_with_a_sentence(
    asker: Askers, raw_far_end: RawFarEnds, behaviour: bytes, sentence: str
) -> None:
    def behave(sock: socket.socket) -> None:
        read_question(sock)
        sock.sendall(behaviour)
        sock.shutdown(socket.SHUT_WR)
        hold(sock)

    assert sentence in asker(raw_far_end(behave)).lost()


def test_interim_answers_within_reason_are_passed_over(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(Answers([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + response()]))
    assert asker(there).answered().answer.status == 200


def test_more_than_was_announced_ends_the_connection_not_the_answer(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(Answers([response(SUCCESS + b"HTTP/1.1 200 OK\r\n", length=16)]))
    here = asker(there)
    assert here.answered().answer.body == SUCCESS
    assert here.answered().answer.body == SUCCESS
    assert there.accepted == 2


def test_a_redirect_is_an_answer_and_nobody_goes_there(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    elsewhere = raw_far_end(hold)
    moved = f"Location: http://127.0.0.1:{elsewhere.port}/bulk"
    here = asker(raw_far_end(Answers([response(b"", "301 Moved Permanently", moved)])))
    assert here.answered().answer.status == 301
    assert elsewhere.accepted == 0


def test_a_body_in_a_coding_nobody_asked_for_is_not_read(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(Answers([response(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip")]))
    assert asker(there).answered().answer.body == b""


def test_an_answer_before_the_question_was_read_is_an_answer(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    def behave(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(response(b"{}", "413 Content Too Large", "Connection: close"))
        sock.shutdown(socket.SHUT_WR)
        hold(sock)

    here = asker(raw_far_end(behave), answer_s=5.0)
    assert here.answered(b"x" * 1_000_000).answer.status == 413


def test_a_far_end_that_reads_nothing_is_lost_with_the_deadline(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    gate = threading.Event()

    def behave(sock: socket.socket) -> None:
        gate.wait(3)

    here = asker(raw_far_end(behave))
    said = here.lost(b"x" * 16_000_000)
    gate.set()
    assert said == "sending took longer than 0.5 s"


def test_unasked_words_on_an_idle_connection_are_never_taken_for_an_answer(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    poisoned = threading.Event()
    bodies: list[bytes] = []

    def behave(sock: socket.socket) -> None:
        while (request := read_question(sock)) is not None:
            bodies.append(request.body)
            sock.sendall(response(b'{"success":true,"for":%d}' % len(bodies)))
            if len(bodies) == 1:
                time.sleep(0.05)
                sock.sendall(response(b'{"success":true,"for":99}'))
                poisoned.set()

    here = asker(raw_far_end(behave))
    here.answered()
    assert poisoned.wait(2)
    assert here.answered().answer.body == b'{"success":true,"for":2}'


# --- our own side --------------------------------------------------------------------------------


def test_a_cancelled_question_is_not_answered_and_the_next_one_is(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    slow = threading.Event()

    def behave(sock: socket.socket) -> None:
        while read_question(sock) is not None:
            if not slow.is_set():
                slow.set()
                time.sleep(0.3)
            sock.sendall(response())

    here = asker(raw_far_end(behave), answer_s=5.0)
    here.ask()
    assert slow.wait(2)
    here.link.cancel(1)
    assert here.silent()
    here.ask()
    posted = here.next()
    assert isinstance(posted, Answered)
    assert posted.number == 2


def test_the_rest_of_a_lost_conversation_is_dropped(asker: Askers, raw_far_end: RawFarEnds) -> None:
    there = raw_far_end(answers := Answers([None]))
    here = asker(there)
    for _ in range(3):
        question = Question("/x", b"{}")
        here.link.ask(1, here.address, lambda _, question=question: question)
    assert isinstance(here.next(), Lost)
    assert here.silent()
    assert len(answers.requests) == 1


def test_no_road_is_lost_and_not_the_end_of_the_thread(
    asker: Askers, raw_far_end: RawFarEnds
) -> None:
    there = raw_far_end(Answers([response()]))
    here = asker(there)
    there.stop()
    assert "connection refused" in here.lost()
    assert "connection refused" in here.lost()


def test_a_key_that_is_not_to_be_had_is_said_and_asked_for_again(raw_far_end: RawFarEnds) -> None:
    kept: list[str] = []

    def key() -> str:
        if not kept:
            raise SecretFault("the keyring is locked")
        return kept[0]

    there = raw_far_end(answers := Answers([response(), response(b"{}", "401 Unauthorized")]))
    here = Asker(f"http://127.0.0.1:{there.port}", key=key)
    try:
        here.link.ask(1, here.address, lambda key: Question(f"/{key}/user", b"{}"))
        posted = here.next()
        assert isinstance(posted, Lost)
        assert isinstance(posted.fault, SecretFault)
        for number, said in enumerate(("one", "two", "three"), 2):
            kept[:] = [said]
            here.link.ask(number, here.address, lambda key: Question(f"/{key}/user", b"{}"))
            assert isinstance(here.next(), Answered)
    finally:
        assert here.link.stop()
    # the first answer was well, so its key stays until the 401
    assert [one.path for one in answers.requests] == ["/one/user", "/one/user", "/three/user"]


def test_a_far_end_that_repeats_the_key_is_not_believed_with_it(raw_far_end: RawFarEnds) -> None:
    there = raw_far_end(Answers([response(b'{"error":"no route for /trKEY%2Fx/ or trKEY/x"}')]))
    here = Asker(f"http://127.0.0.1:{there.port}", key=lambda: "trKEY/x")
    try:
        body = here.answered().answer.body.decode()
    finally:
        assert here.link.stop()
    assert body == '{"error":"no route for /…/ or …"}'


def test_stopping_does_not_wait_for_a_far_end(asker: Askers, raw_far_end: RawFarEnds) -> None:
    here = asker(raw_far_end(hold), answer_s=30.0)
    here.ask()
    time.sleep(0.1)
    since = time.monotonic()
    assert here.link.stop()
    assert time.monotonic() - since < 1
    assert here.silent(0.05)


def test_what_a_question_holds_is_not_shown_when_it_is() -> None:
    question = Question("/trKEY/user", b'{"userId":"u"}', (("Authorization", "Bearer s"),))
    assert repr(question) == "Question()"


def test_no_answer_in_time_is_a_fault_that_waits(asker: Askers, raw_far_end: RawFarEnds) -> None:
    here = asker(raw_far_end(hold))
    here.ask()
    posted = here.next()
    assert isinstance(posted, Lost)
    assert isinstance(posted.fault, Unreachable)
