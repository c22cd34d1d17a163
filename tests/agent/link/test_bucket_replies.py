"""What each answer of a Bucket far end means, and whose words a person is shown."""

from __future__ import annotations

import email.utils
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.links.bucket_replies import meaning
from agent.adapters.links.http_wire import Answer
from agent.rules.notices import Lost
from agent.rules.questions import Taken, Unfit
from tracking.errors import Fault, Refused, Throttled, Unreachable

BAD = (
    b'{"success":false,"error":{"code":"BODY_VALIDATION_FAILED","message":"the body is not valid",'
    b'"validationErrors":[{"message":"userId: Required"}]}}'
)


def heard(
    status: int,
    body: bytes = b"",
    *,
    vendor: bool = True,
    content_type: str = "application/json",
    retry_after: str | None = None,
    whole: bool = True,
) -> Taken | Unfit | Lost:
    return meaning(7, Answer(status, body, content_type, retry_after, whole), vendor=vendor)


def fault_of(status: int, body: bytes = b"", **more: object) -> Fault:
    lost = heard(status, body, **more)  # type: ignore[arg-type]
    assert isinstance(lost, Lost), lost
    assert lost.dial == 7
    return lost.fault


@pytest.mark.parametrize("status", [200, 201, 202])
def test_success_said_is_success(status: int) -> None:
    assert heard(status, b'{"success":true,"feedbackId":"x"}') == Taken(7)
    assert heard(status, b'{"success":true}', vendor=False) == Taken(7)


def test_what_a_collector_rejects_is_named_by_index_with_its_words() -> None:
    body = json.dumps(
        {
            "success": True,
            "rejected": [
                {"index": 3, "code": "X", "message": "userId:\x1b[31m Required"},
                {"index": 5},
                {"index": True, "message": "no"},
                {"index": "4"},
                "nonsense",
            ],
        }
    ).encode()
    assert heard(200, body, vendor=False) == Taken(
        7, ((3, "userId:\\x1b[31m Required (X)"), (5, "rejected without a word"))
    )
    assert heard(200, b'{"success":true,"rejected":{"index":1}}') == Taken(7)


@pytest.mark.parametrize(
    ("status", "body"), [(200, b""), (204, b""), (200, b"ok"), (200, b"{}"), (200, b"[]")]
)
def test_a_vendors_2xx_without_success_counts_and_is_odd(status: int, body: bytes) -> None:
    taken = heard(status, body)
    assert isinstance(taken, Taken)
    assert f"answered {status} without" in taken.odd
    assert isinstance(fault_of(status, body, vendor=False), Unreachable)


def test_a_page_in_html_is_somebody_else_also_before_a_vendor() -> None:
    page = b"<html><body><h1>Hotel  Wi-Fi</h1>Please log in</body></html>"
    for fault in (
        fault_of(200, page, content_type="text/html"),
        fault_of(200, page, content_type=""),
        fault_of(200, b"welcome", content_type="text/html"),
    ):
        assert isinstance(fault, Unreachable)
        assert "not the far end" in str(fault)
    assert "Hotel Wi-Fi Please log in" in str(fault_of(200, page))


def test_no_success_is_as_good_as_400() -> None:
    for vendor in (True, False):
        assert heard(200, BAD, vendor=vendor) == Unfit(
            7, 200, "the body is not valid; userId: Required (BODY_VALIDATION_FAILED)"
        )


@pytest.mark.parametrize("status", [400, 406, 409, 411, 413, 415, 422])
def test_a_4xx_that_speaks_of_the_items_is_unfit_with_its_words(status: int) -> None:
    words = "the body is not valid; userId: Required (BODY_VALIDATION_FAILED)"
    assert heard(status, BAD) == Unfit(7, status, words)
    assert heard(status) == Unfit(7, status, f"the far end answered {status}")
    page = heard(status, b"<h1>nginx</h1>", content_type="text/html")
    assert page == Unfit(7, status, "nginx")


def test_a_code_is_kept_beside_words_without_end_and_not_said_twice() -> None:
    error = {"code": "TOO_LONG", "message": "x" * 300}
    told = heard(400, json.dumps({"error": error}).encode())
    assert isinstance(told, Unfit)
    assert len(told.words) == 200
    assert told.words.endswith("xx (TOO_LONG)")
    assert heard(400, b'{"error":{"code":"TOO_LONG"}}') == Unfit(7, 400, "TOO_LONG")


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 402, 403, 404, 405, 407, 410, 421])
def test_an_answer_that_speaks_of_asker_or_place_refuses_no_item(status: int) -> None:
    fault = fault_of(status, b"<p>no</p>")
    assert isinstance(fault, Refused)
    assert fault.status == status
    assert str(fault) == f"the far end answered {status}: no"


@pytest.mark.parametrize("status", [200, 400, 403])
@pytest.mark.parametrize("code", ["INVALID_API_KEY", "WRONG_REGION"])
def test_a_key_that_is_refused_by_name_is_no_items_fault(status: int, code: str) -> None:
    body = json.dumps({"success": False, "error": {"code": code, "message": "Invalid"}}).encode()
    fault = fault_of(status, body)
    assert isinstance(fault, Refused)
    assert fault.status == 403
    assert "refuses the key: Invalid" in str(fault)


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 507, 599, 999])
def test_what_may_be_better_in_a_while_is_tried_again(status: int) -> None:
    assert isinstance(fault_of(status, b"<h1>Oops</h1>"), Unreachable)


def test_a_named_delay_is_taken_in_seconds_or_as_a_date_and_a_day_at_most() -> None:
    def delay(retry_after: str | None, status: int = 429) -> float:
        fault = fault_of(status, retry_after=retry_after)
        assert isinstance(fault, Throttled)
        return fault.retry_after_s

    assert delay("120") == 120
    assert delay("120", 503) == 120
    assert 80 < delay(email.utils.formatdate(time.time() + 90, usegmt=True)) <= 90
    assert delay(email.utils.formatdate(time.time() - 90, usegmt=True)) == 0
    assert delay("999999999") == 86_400
    assert delay(None) == delay("soon") == 60


def test_a_body_that_was_cut_is_no_json() -> None:
    taken = heard(200, b'{"success":true}', whole=False)
    assert isinstance(taken, Taken)
    assert taken.odd


@given(status=st.integers(100, 999), body=st.binary(max_size=60), vendor=st.booleans())
def test_nothing_in_a_body_raises_and_what_is_shown_is_plain(
    status: int, body: bytes, vendor: bool
) -> None:
    told = heard(status, body, vendor=vendor)
    shown = told.odd if isinstance(told, Taken) else (
        told.words if isinstance(told, Unfit) else str(told.fault)
    )  # fmt: skip
    assert len(shown) <= 280
    assert shown.isprintable()


@pytest.mark.parametrize(
    "error", [b"5", b"[]", b'"x"', b'{"message":5,"validationErrors":[5,{"message":6}]}', b"null"]
)
def test_an_error_in_a_form_of_its_own_is_shown_as_far_as_it_can_be_read(error: bytes) -> None:
    assert isinstance(heard(400, b'{"error":' + error + b"}"), Unfit)
