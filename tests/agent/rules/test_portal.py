"""Told apart: a portal, an outage, and a far end with a web page, by what came back."""

from __future__ import annotations

import pytest

from agent.rules.portal import Answered, portal_sign, worth_asking
from tracking.errors import (
    Fault,
    LoginWanted,
    NoName,
    NotListed,
    ProxyFault,
    Refused,
    Silent,
    Throttled,
    Unproven,
    Unreachable,
)

OTHER_NAME = Unproven("mismatch", why="name")
STRANGER = Unproven("self-signed", why="authority")
EXPIRED = Unproven("expired", why="time")
OLD = Unproven("TLS 1.0", why="protocol")
SILENT = Silent("nobody")
REFUSED = Unreachable("connection refused")

LOGIN = b"<!DOCTYPE html><html><form action='/login'><input name=room></form></html>"
REFRESH = b'<html><meta http-equiv="refresh" content="0; url=https://portal.example/"></html>'
SCRIPT = b"<html><script>window.location.href='https://portal.example/'</script></html>"
WELCOME = b"<html><body><h1>Welcome to nginx!</h1></body></html>"


@pytest.mark.parametrize("fault", [OTHER_NAME, STRANGER, SILENT, REFUSED, EXPIRED])
def test_a_portal_that_says_so_itself_is_believed(fault: Fault) -> None:
    assert "511" in portal_sign("far.example", fault, Answered(511))


@pytest.mark.parametrize("fault", [OTHER_NAME, STRANGER, SILENT, REFUSED])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_being_sent_to_another_host_is_a_portal(fault: Fault, status: int) -> None:
    answer = Answered(status, "http://10.0.0.1:8000/login?url=http://far.example/")
    assert portal_sign("far.example", fault, answer) == (
        "asked for far.example, it sends to 10.0.0.1"
    )


@pytest.mark.parametrize(
    "location",
    [
        "https://far.example/",
        "https://www.far.example/",
        "https://example/",
        "https://FAR.example./x",
        "/login",
        "",
        "http://[::1",
    ],
)
def test_being_sent_within_the_same_house_is_none(location: str) -> None:
    assert portal_sign("far.example", STRANGER, Answered(302, location)) == ""


@pytest.mark.parametrize("page", [LOGIN, REFRESH, SCRIPT, WELCOME])
@pytest.mark.parametrize("fault", [OTHER_NAME, STRANGER])
def test_a_page_beside_somebody_elses_certificate_is_a_portal(fault: Fault, page: bytes) -> None:
    assert portal_sign("far.example", fault, Answered(200, body=page))


@pytest.mark.parametrize("fault", [SILENT, REFUSED])
@pytest.mark.parametrize(
    ("page", "portal"),
    [
        (LOGIN, True),
        (REFRESH, True),
        (SCRIPT, True),
        (WELCOME, False),
        (b"ok", False),
        (b"", False),
    ],
)
def test_where_nobody_answers_a_page_has_to_want_something(
    fault: Fault, page: bytes, portal: bool
) -> None:
    assert bool(portal_sign("far.example", fault, Answered(200, body=page))) is portal


@pytest.mark.parametrize("fault", [EXPIRED, OLD])
@pytest.mark.parametrize(
    "answer",
    [Answered(200, body=LOGIN), Answered(302, "https://elsewhere.example/")],
    ids=["page", "sent away"],
)
def test_a_far_end_whose_certificate_ran_out_is_no_portal(fault: Fault, answer: Answered) -> None:
    assert portal_sign("far.example", fault, answer) == ""


@pytest.mark.parametrize("status", [204, 400, 403, 404, 500, 503])
def test_other_answers_are_no_sign(status: int) -> None:
    assert portal_sign("far.example", STRANGER, Answered(status, body=LOGIN)) == ""


@pytest.mark.parametrize(
    ("fault", "worth"),
    [
        (OTHER_NAME, True),
        (SILENT, True),
        (REFUSED, True),
        (NoName("no such name"), False),
        (ProxyFault("502"), False),
        (LoginWanted("407"), False),
        (NotListed("near.example"), False),
        (Refused("403", status=403), False),
        (Throttled("429", retry_after_s=1), False),
    ],
)
def test_only_a_failure_that_a_portal_may_cause_is_worth_a_question(
    fault: Fault, worth: bool
) -> None:
    assert worth_asking(fault) is worth
