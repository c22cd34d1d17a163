"""The thread that asks over HTTP, against far ends of every temper, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable

from far_ends import Authority, RawFarEnd, hold
from http_ends import SUCCESS, Answers, Asker, read_question, response

from agent.adapters.links.http_link import Answered
from agent.adapters.links.http_wire import Question
from agent.rules.notices import Lost
from tracking.errors import SecretFault, Unproven, Unreachable

Askers = Callable[..., Asker]
RawFarEnds = Callable[..., RawFarEnd]


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
    address, version, *names, fingerprint = peer.split(", ")
    assert address == f"127.0.0.1:{there.port}"
    assert version == "TLSv1.3"
    assert all("=" in name for name in names)
    assert fingerprint.startswith("sha256:")
    assert len(fingerprint) == len("sha256:") + 16


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
    here = asker(raw_far_end(hold), answer_s=0.3)
    here.ask()
    posted = here.next()
    assert isinstance(posted, Lost)
    assert isinstance(posted.fault, Unreachable)
