"""BUCKET.md §9 over real sockets: what is answered, and what reaches the sink.

What becomes of it in a store is the collector's (tests/collector/test_bucket_cases.py). More than
400 lines, because the cases are one table and are looked up by their number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import websocket

from tracking.bucket import Batch, Call, EventCall, FeedbackCall, Rejection
from tracking.bucket_endpoints import BucketKey, Repeat, bucket_routes
from tracking.errors import DiskFull, Fault, OverQuota, RequestFault
from tracking.events import Limits
from tracking.sink import Origin

K = "trCqx4DGo1lk3Lcct5NHLjWy"
S = "sec_0123456789abcdefghij"
P = "pub_0123456789"
JSON = {"Content-Type": "application/json"}
OK = (200, b'{"success":true}')
NUCLEUS = '{"data":[{"name":"E","id":1,"machineId":"m"}]}'


class Kept:
    """Keeps calls in memory, and replies by their idempotency key."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.rejected: list[Rejection] = []
        self.apps: list[str] = []
        self.origins: list[Origin] = []
        self.replies: dict[str, bytes] = {}
        self.fault: Fault | None = None

    async def app_of(self, key: BucketKey) -> str | None:
        known = {
            BucketKey("path", K): "A",
            BucketKey("bearer", S): "A",
            BucketKey("bearer", P): "A",
            BucketKey("publishable", P): "A",
        }
        return known.get(key)

    async def keep(
        self, app_id: str, batch: Batch, origin: Origin, repeat: Repeat | None
    ) -> bytes | None:
        if self.fault is not None:
            raise self.fault
        if repeat is not None:
            if repeat.key in self.replies:
                return self.replies[repeat.key]
            self.replies[repeat.key] = repeat.reply
        self.apps.append(app_id)
        self.origins.append(origin)
        self.calls += [one.call for one in batch.accepted]
        self.rejected += batch.rejected
        return None


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def far_end(serve: Callable[..., Any], kept: Kept) -> Any:
    """Both APIs on one listener."""
    return serve(before=bucket_routes(kept, Limits()))


@pytest.fixture
def post(far_end: Any) -> Callable[..., tuple[int, bytes]]:
    def post(path: str, body: Any, **headers: str) -> tuple[int, bytes]:
        said = body if isinstance(body, (str, bytes)) else json.dumps(body)
        sent = JSON | {key.replace("_", "-"): value for key, value in headers.items()}
        status, answer, got = far_end.request("POST", path, said, sent)
        assert got["content-type"] == "application/json"
        assert got["access-control-allow-origin"] == "*"
        return status, answer

    return post


Post = Callable[..., tuple[int, bytes]]


def assert_invalid(answer: tuple[int, bytes], *fields: str) -> None:
    """BV: 400 with the code and at least one validation error, each naming its field."""
    status, said = answer
    error = json.loads(said)["error"]
    assert (status, error["code"]) == (400, "BODY_VALIDATION_FAILED")
    messages = [one["message"] for one in error["validationErrors"]]
    assert messages
    assert [text.split(":", 1)[0] for text in messages][: len(fields)] == list(fields)


def assert_refused(answer: tuple[int, bytes], status: int, code: str) -> None:
    assert (answer[0], json.loads(answer[1])["error"]["code"]) == (status, code)
    assert json.loads(answer[1])["success"] is False


def test_case_01_a_user_is_taken(post: Post, kept: Kept) -> None:
    assert post(f"/{K}/user", {"userId": "u1"}) == OK
    assert [call.user_id for call in kept.calls] == ["u1"]
    assert kept.apps == ["A"]
    assert kept.origins[0].peer == "127.0.0.1"
    assert kept.origins[0].received_ms > 1_700_000_000_000


def test_case_02_03_a_number_and_its_text_are_one_user(post: Post, kept: Kept) -> None:
    attributes = {"name": "R", "custom_property": True, "some_number": 12}
    assert post(f"/{K}/user", {"userId": 1234567890, "attributes": attributes}) == OK
    assert post(f"/{K}/user", {"userId": "1234567890", "attributes": {"name": "Q"}}) == OK
    assert {call.user_id for call in kept.calls} == {"1234567890"}
    assert [json.loads(call.attributes or b"") for call in kept.calls] == [  # type: ignore[union-attr]
        attributes,
        {"name": "Q"},
    ]


def test_case_04_a_number_that_a_float_cannot_hold_is_exact(post: Post, kept: Kept) -> None:
    assert post(f"/{K}/user", '{"userId":9007199254740993}') == OK
    assert kept.calls[0].user_id == "9007199254740993"


def test_case_05_a_user_without_an_id_is_refused(post: Post, kept: Kept) -> None:
    assert_invalid(post(f"/{K}/user", {"attributes": {}}), "userId")
    assert not kept.calls


@pytest.mark.parametrize("user_id", ["", None, True, {}, []])
def test_case_06_what_is_no_id_is_refused(post: Post, kept: Kept, user_id: Any) -> None:
    assert_invalid(post(f"/{K}/user", {"userId": user_id}), "userId")
    assert not kept.calls


def test_case_07_null_attributes_and_null_active_are_absent(post: Post, kept: Kept) -> None:
    said = {"userId": "u", "attributes": None, "context": {"active": None}}
    assert post(f"/{K}/user", said) == OK
    call = kept.calls[0]
    assert (call.attributes, call.active) == (None, None)  # type: ignore[union-attr]


@pytest.mark.parametrize("attributes", [[1], "x"])
def test_case_08_attributes_are_an_object(post: Post, kept: Kept, attributes: Any) -> None:
    assert_invalid(post(f"/{K}/user", {"userId": "u", "attributes": attributes}), "attributes")
    assert not kept.calls


def test_case_09_nested_attributes_are_kept_verbatim(post: Post, kept: Kept) -> None:
    assert post(f"/{K}/user", '{"userId":"u","attributes":{"a": {"b":[1,null]}}}') == OK
    assert kept.calls[0].attributes == b'{"a": {"b":[1,null]}}'  # type: ignore[union-attr]


def test_case_10_an_unknown_field_is_kept_in_the_raw_record(post: Post, kept: Kept) -> None:
    assert post(f"/{K}/user", '{"userId":"u","future":1}') == OK
    assert kept.calls[0].raw == b'{"userId":"u","future":1}'


def test_case_11_12_13_active_is_a_boolean(post: Post, kept: Kept) -> None:
    assert post(f"/{K}/user", {"userId": "u", "context": {"active": False}}) == OK
    assert kept.calls[0].active is False  # type: ignore[union-attr]
    assert_invalid(
        post(f"/{K}/user", {"userId": "u", "context": {"active": "no"}}), "context.active"
    )
    assert_invalid(post(f"/{K}/user", {"userId": "u", "context": 1}), "context")
    assert len(kept.calls) == 1


def test_case_14_15_17_a_company_with_and_without_its_user(post: Post, kept: Kept) -> None:
    acme = '{"companyId":101112231415,"attributes":{"name":"Acme Corp","monthly_spend":99,'
    acme += '"activated":true},"userId":1234567890}'
    assert post(f"/{K}/company", acme) == OK
    assert post(f"/{K}/company", {"companyId": "c1"}) == OK
    assert post(f"/{K}/company", {"companyId": "c1", "userId": None}) == OK
    assert [(call.company_id, call.user_id) for call in kept.calls] == [  # type: ignore[union-attr]
        ("101112231415", "1234567890"),
        ("c1", None),
        ("c1", None),
    ]


def test_case_16_a_company_without_an_id_is_refused(post: Post, kept: Kept) -> None:
    assert_invalid(post(f"/{K}/company", {"userId": "u"}), "companyId")
    assert not kept.calls


def test_case_18_a_company_of_somebody_who_is_not_there(post: Post, kept: Kept) -> None:
    said = {"companyId": "c1", "userId": "u", "context": {"active": False}}
    assert post(f"/{K}/company", said) == OK
    assert kept.calls[0].active is False  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["event", "events"])
def test_case_19_20_21_an_event_by_either_name_of_the_method(
    post: Post, kept: Kept, method: str
) -> None:
    said = {"event": "e", "userId": 1234567890, "attributes": {"position": "popover"}}
    assert post(f"/{K}/{method}", said) == OK
    assert post(f"/{K}/{method}", said | {"companyId": "my_company_id"}) == OK
    assert [(call.event, call.user_id, call.company_id) for call in kept.calls] == [  # type: ignore[union-attr]
        ("e", "1234567890", None),
        ("e", "1234567890", "my_company_id"),
    ]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"userId": "u"}, "event"),
        ({"event": "", "userId": "u"}, "event"),
        ({"event": 5, "userId": "u"}, "event"),
        ({"event": "e"}, "userId"),
    ],
)
def test_case_24_an_event_needs_a_name_and_a_user(
    post: Post, kept: Kept, said: Any, field: str
) -> None:
    assert_invalid(post(f"/{K}/event", said), field)
    assert not kept.calls


def test_case_25_the_same_event_five_times_is_five_events(post: Post, kept: Kept) -> None:
    for _ in range(5):
        assert post(f"/{K}/event", {"event": "e", "userId": "u"}) == OK
    assert len(kept.calls) == 5


def test_case_26_a_repeat_under_one_idempotency_key_has_the_same_answer(
    post: Post, kept: Kept
) -> None:
    said = {"event": "e", "userId": "u"}
    assert post(f"/{K}/event", said, Idempotency_Key="one") == OK
    assert post(f"/{K}/event", said, Idempotency_Key="one") == OK
    assert len(kept.calls) == 1
    thought = {"featureId": "f", "userId": "u", "score": 3}
    first = post(f"/{K}/feedback", thought, Idempotency_Key="two")
    kept.replies.clear()  # as if another server of the same far end were asked
    assert post(f"/{K}/feedback", thought, Idempotency_Key="two") == first
    assert post(f"/{K}/feedback", thought) != first


@pytest.mark.parametrize("said", ["2023-06-28T12:00:00+02:00", 1687946400000])
def test_case_27_28_a_timestamp_in_either_form(post: Post, kept: Kept, said: Any) -> None:
    assert post(f"/{K}/event", {"event": "e", "userId": "u", "timestamp": said}) == OK
    assert kept.calls[0].timestamp_ms == 1_687_946_400_000


def test_case_29_what_is_no_timestamp_is_refused(post: Post, kept: Kept) -> None:
    said = {"event": "e", "userId": "u", "timestamp": "yesterday"}
    assert_invalid(post(f"/{K}/event", said), "timestamp")
    assert not kept.calls


def test_case_31_a_feedback_is_answered_with_its_id(post: Post, kept: Kept) -> None:
    said = '{"featureId":"my_feature_id","userId":1234567890,"companyId":101112231415,'
    status, answer = post(f"/{K}/feedback", said + '"score":4,"comment":"nice"}')
    (call,) = kept.calls
    assert isinstance(call, FeedbackCall)
    assert call.feedback_id
    assert (status, json.loads(answer)) == (200, {"success": True, "feedbackId": call.feedback_id})
    assert (call.feature_id, call.score, call.comment) == ("my_feature_id", 4, "nice")


def test_case_32_a_score_or_a_comment_is_enough(post: Post, kept: Kept) -> None:
    for thought in ({"comment": "only"}, {"score": 1}):
        status, _ = post(f"/{K}/feedback", {"featureId": "f", "userId": "u"} | thought)
        assert status == 200
    assert len({call.feedback_id for call in kept.calls}) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("more", [{}, {"score": None, "comment": ""}, {"score": 0}])
def test_case_33_neither_score_nor_comment_is_refused(post: Post, kept: Kept, more: Any) -> None:
    assert_invalid(post(f"/{K}/feedback", {"featureId": "f", "userId": "u"} | more), "score")
    assert not kept.calls


def test_case_34_a_feature_by_its_key(post: Post, kept: Kept) -> None:
    said = {"key": "huddle", "userId": "42", "score": 5, "source": "sdk"}
    assert post("/feedback", said, Authorization=f"Bearer {P}")[0] == 200
    call = kept.calls[0]
    assert (call.feature_id, call.key, call.source) == (None, "huddle", "sdk")  # type: ignore[union-attr]


@pytest.mark.parametrize("score", [99, 6, -1, "4", 0.5, True])
def test_case_35_a_score_is_from_1_to_5(post: Post, kept: Kept, score: Any) -> None:
    said = {"featureId": "f", "userId": "u", "score": score, "comment": "c"}
    assert_invalid(post(f"/{K}/feedback", said), "score")
    assert not kept.calls


@pytest.mark.parametrize("more", [{}, {"featureId": "", "key": ""}, {"featureId": None}])
def test_case_36_a_feedback_of_no_feature_is_refused(post: Post, kept: Kept, more: Any) -> None:
    assert_invalid(post(f"/{K}/feedback", {"userId": "u", "score": 1} | more), "featureId")
    assert not kept.calls


def test_case_37_a_known_feedback_id_is_handed_on_and_back(post: Post, kept: Kept) -> None:
    said = {"featureId": "f", "userId": "u", "score": 2}
    given = json.loads(post(f"/{K}/feedback", said)[1])["feedbackId"]
    again = said | {"feedbackId": given, "comment": "more"}
    assert json.loads(post(f"/{K}/feedback", again)[1])["feedbackId"] == given
    assert [call.feedback_id for call in kept.calls] == [given, given]  # type: ignore[union-attr]


def test_case_38_the_trailing_comma_of_seed_003_is_refused(post: Post, kept: Kept) -> None:
    said = '{\n  "event": "Sent message",\n  "userId": 1234567890,\n  "attributes": {\n'
    said += '    "position": "popover",\n    "version": 3\n  },\n\n}'
    assert_invalid(post(f"/{K}/event", said), "body")
    assert not kept.calls


@pytest.mark.parametrize("body", ["", "[]", '"x"', "null", "[" * 100_000, b"\xff\xfe"])
def test_case_39_what_is_no_object_is_refused(post: Post, kept: Kept, body: Any) -> None:
    assert_invalid(post(f"/{K}/event", body), "body")
    assert not kept.calls


def test_case_40_41_only_json_is_taken_however_it_is_spelled(post: Post, kept: Kept) -> None:
    said = {"event": "e", "userId": "u"}
    for other in ("text/plain", "application/jsonp", "", "application/x-www-form-urlencoded"):
        assert_invalid(post(f"/{K}/event", said, Content_Type=other), "Content-Type")
    assert not kept.calls
    for one in ("application/json; charset=utf-8", "Application/JSON", "application/json ;a=b"):
        assert post(f"/{K}/event", said, Content_Type=one) == OK
    assert_invalid(post(f"/{K}/event", said, Content_Encoding="gzip"), "Content-Encoding")


def test_case_42_an_unknown_key_in_the_path_is_400(post: Post, kept: Kept) -> None:
    assert_refused(post("/nokey123/event", {"event": "e", "userId": "u"}), 400, "INVALID_API_KEY")
    assert not kept.calls


def test_case_43_a_key_in_the_header_or_the_query(post: Post, kept: Kept) -> None:
    said = {"event": "e", "userId": "u"}
    assert post("/event", said, Authorization=f"Bearer {S}") == OK
    assert post("/event", said, Authorization=f"bearer {P}") == OK
    assert post(f"/event?x=1&publishableKey={P}", said) == OK
    assert kept.apps == ["A"] * 3


def test_case_44_no_key_or_a_wrong_one_is_403(post: Post, kept: Kept) -> None:
    said = {"event": "e", "userId": "u"}
    assert_refused(post("/event", said), 403, "INVALID_API_KEY")
    for wrong in ("Bearer nope", f"Basic {S}", S, "Bearer "):
        assert_refused(post("/event", said, Authorization=wrong), 403, "INVALID_API_KEY")
    assert_refused(post(f"/event?publishableKey={S}", said), 403, "INVALID_API_KEY")
    assert not kept.calls


BULK = (
    '[{"type":"user","userId":"john_doe","attributes":{"name":"John O.","age":3,"nested":{"a":1},'
    '"arr":[1,2]},"context":{"active":false}},{"type":"user","userId":1234567890},'
    '{"type":"company","companyId":"acme_inc","userId":"john_doe","attributes":{"name":"Acme Inc"},'
    '"context":{"active":true}},{"type":"company","companyId":101112231415,"userId":1234567890},'
    '{"type":"event","event":"huddle","companyId":"acme_inc","userId":"john_doe",'
    '"attributes":{"voice":true},"context":{"active":false}},'
    '{"type":"event","event":"Sent message","userId":1234567890},'
    '{"type":"feature-flag-event","action":"check","key":"huddle","targetingVersion":42,'
    '"evalContext":{"user":{"id":"john_doe","name":"J"}},"evalResult":true,'
    '"evalRuleResults":[true],"evalMissingFields":[]}]'
)


def test_case_45_a_bulk_body_by_either_key(post: Post, kept: Kept) -> None:
    assert post(f"/{K}/bulk", BULK) == OK
    assert post("/bulk", BULK, Authorization=f"Bearer {S}") == OK
    names = [type(call).__name__ for call in kept.calls]
    once = ["UserCall", "UserCall", "CompanyCall", "CompanyCall", "EventCall", "EventCall"]
    assert names == [*once, "RawCall"] * 2
    assert kept.calls[6].user_id == "john_doe"
    items = json.loads(BULK)
    assert [json.loads(call.raw) for call in kept.calls] == items * 2


def test_case_46_one_bad_item_spoils_only_itself(post: Post, kept: Kept) -> None:
    items: list[Any] = [{"type": "event", "event": f"e{n}", "userId": "u"} for n in range(100)]
    items[57] = {"type": "event", "event": "e", "userId": None}
    status, answer = post(f"/{K}/bulk", items)
    said = json.loads(answer)
    assert (status, said["success"], said["accepted"]) == (200, True, 99)
    (rejected,) = said["rejected"]
    assert (rejected["index"], rejected["code"]) == (57, "BODY_VALIDATION_FAILED")
    assert rejected["message"] == "userId: Required"
    assert len(kept.calls) == 99
    assert json.loads(kept.rejected[0].raw) == items[57]


@pytest.mark.parametrize("body", [{}, [], [{"type": "user"}, 5, {"type": "event"}], [[]]])
def test_case_47_a_bulk_body_with_nothing_valid_is_refused(
    post: Post, kept: Kept, body: Any
) -> None:
    assert_invalid(post(f"/{K}/bulk", body))
    assert not kept.calls
    assert not kept.rejected


def test_case_48_what_is_only_kept_and_what_nobody_knows(post: Post, kept: Kept) -> None:
    types = ["prompt-event", "channel-status-event", "x"]
    status, answer = post(f"/{K}/bulk", [{"type": type_} for type_ in types])
    said = json.loads(answer)
    assert (status, said["accepted"], [one["index"] for one in said["rejected"]]) == (200, 2, [2])
    assert [call.type for call in kept.calls] == types[:2]  # type: ignore[union-attr]


@pytest.mark.parametrize("path", [f"//{K}//event", f"/{K}/event/", f"/{K}///event"])
def test_case_49_slashes_are_collapsed(post: Post, kept: Kept, path: str) -> None:
    assert post(path, {"event": "e", "userId": "u", "companyId": "my_company_id"}) == OK
    (call,) = kept.calls
    assert isinstance(call, EventCall)
    assert call.company_id == "my_company_id"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"/{K}/event", "bucket-sdk-version,content-type"),
        ("/bulk", "authorization,content-type,reflag-sdk-version"),
        ("/nokey123/event", "x-of-a-page"),
    ],
)
def test_case_50_a_preflight_is_answered_without_a_key(far_end: Any, path: str, asked: str) -> None:
    asks = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    status, body, headers = far_end.request("OPTIONS", path, None, asks)
    assert (status, body) == (204, b"")
    allowed = {name.strip() for name in headers["access-control-allow-headers"].split(",")}
    assert allowed >= {*asked.split(","), "authorization", "content-type"}
    assert "POST" in headers["access-control-allow-methods"]
    assert int(headers["access-control-max-age"]) > 0
    assert headers["access-control-allow-origin"] == "https://app.example"
    assert headers["access-control-allow-credentials"] == "true"
    assert headers["vary"] == "Origin"


def test_case_50_errors_have_the_cors_headers_too(far_end: Any, kept: Kept) -> None:
    origin = {"Origin": "https://app.example", **JSON}
    kept.fault = DiskFull("the disk is full")
    answers = [
        far_end.request("POST", f"/{K}/event", "{}", origin),
        far_end.request("POST", "/event", "{}", origin),
        far_end.request("POST", f"/{K}/nope", "{}", origin),
        far_end.request("PUT", f"/{K}/event", "{}", origin),
        far_end.request("POST", f"/{K}/user", '{"userId":"u"}', origin),
    ]
    assert [status for status, _, _ in answers] == [400, 403, 404, 405, 500]
    for _, _, headers in answers:
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize("path", [f"/{K}/feedback/prompting-init", "/feedback/prompting-init"])
def test_case_51_nobody_is_prompted_and_the_answer_is_json(
    post: Post, kept: Kept, path: str
) -> None:
    status, answer = post(path, {"userId": "u"}, Authorization=f"Bearer {P}")
    assert (status, json.loads(answer)["success"]) == (200, False)
    assert not kept.calls


def test_case_52_there_are_no_features(far_end: Any) -> None:
    bearer = {"Authorization": f"Bearer {S}"}
    status, answer, _ = far_end.request("GET", "/features", None, bearer)
    nothing = {"success": True, "features": [], "flagStateVersion": 0}
    assert (status, json.loads(answer)) == (200, nothing)
    for path in (
        f"/features/evaluated?context.user.id=u&publishableKey={P}",
        f"/features/enabled?publishableKey={P}",
        f"/{K}/features/enabled",
    ):
        status, answer, _ = far_end.request("GET", path)
        none = {"success": True, "features": {}, "flags": {}, "remoteContextUsed": False}
        assert (status, json.loads(answer)) == (200, none)
    assert far_end.request("GET", "/features")[0] == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/{K}/event", 405),
        ("GET", "/bulk", 405),
        ("POST", f"/{K}/nope", 404),
        ("POST", "/user/user", 404),
        ("POST", f"/{K}/user/user", 404),
        ("POST", "/flags/opt-in", 404),
        ("GET", "/sse/server", 404),
        ("GET", "/sse/client", 404),
        ("DELETE", f"/{K}/user", 405),
    ],
)
def test_case_53_every_error_has_a_body_of_json(
    far_end: Any, method: str, path: str, status: int
) -> None:
    got, answer, headers = far_end.request(method, path, "{}", JSON)
    said = json.loads(answer)
    assert (got, said["success"]) == (status, False)
    assert said["error"]["message"]
    assert (status == 405) == (headers.get("allow") == "OPTIONS, POST")


def test_case_54_a_full_disk_is_500_and_too_much_is_503_with_a_delay(
    far_end: Any, post: Post, kept: Kept
) -> None:
    kept.fault = DiskFull("the disk is full")
    assert_refused(post(f"/{K}/user", {"userId": "u"}), 500, "UNKNOWN_ERROR")
    kept.fault = OverQuota("too many events at once", retry_after_s=1.5)
    status, answer, headers = far_end.request("POST", f"/{K}/user", '{"userId":"u"}', JSON)
    assert_refused((status, answer), 503, "UNKNOWN_ERROR")
    assert headers["retry-after"] == "2"
    kept.fault = RequestFault("this app is closed", status=403)
    assert_refused(post(f"/{K}/user", {"userId": "u"}), 403, "INVALID_API_KEY")
    kept.fault = RequestFault("userId: what the sink knows better")
    assert_refused(post(f"/{K}/user", {"userId": "u"}), 400, "BODY_VALIDATION_FAILED")


def test_what_sdks_say_beside_tracking_is_only_kept(post: Post, kept: Kept) -> None:
    shown = {"action": "shown", "featureId": "f", "promptId": "p", "userId": "u"}
    assert post(f"/{K}/feedback/prompt-events", shown) == OK
    check = {"action": "check", "key": "huddle", "evalContext": {"user": {"id": "v"}}}
    assert post("/features/events", check, Authorization=f"Bearer {P}") == OK
    assert post("/features/events", [check, check], Authorization=f"Bearer {P}") == OK
    assert [(call.type, call.user_id) for call in kept.calls] == [  # type: ignore[union-attr]
        ("prompt-event", "u"),
        *[("feature-flag-event", "v")] * 3,
    ]


def test_both_apis_live_on_one_listener(far_end: Any, post: Post, kept: Kept) -> None:
    for path in ("/A", "/A/", "/app/A/track", "//app/A/track", "/prefix/app/A/track", "/acme"):
        status, answer, _ = far_end.request("POST", path, NUCLEUS)
        assert (status, answer) == (200, b'{"reportedIds":[1]}')
    for path in ("/app/A/track", "/A", "/prefix/app/A/track"):
        connection = far_end.websocket(path)
        connection.send(NUCLEUS)
        assert connection.recv() == '{"reportedIds":[1]}'
        connection.close()
    for path in ("/app/nobody/track", "/app//track"):
        assert json.loads(far_end.request("POST", path, NUCLEUS)[1])["field"] == "appId"
    with pytest.raises(websocket.WebSocketBadStatusException):  # an app id, and a wrong one
        far_end.websocket("/event")
    assert not kept.calls
    assert post(f"/{K}/user", {"userId": "u"}) == OK
    assert len(far_end.sink.stored) == 9


def test_a_path_key_names_the_app_whatever_the_header_says(post: Post, kept: Kept) -> None:
    said = {"event": "e", "userId": "u"}
    assert post(f"/{K}/event", said, Authorization="Bearer nope") == OK
    assert_refused(
        post("/nokey123/event", said, Authorization=f"Bearer {S}"), 400, "INVALID_API_KEY"
    )
    assert kept.apps == ["A"]


def test_a_body_that_is_too_large_is_400_and_cors_can_be_closed(
    serve: Callable[..., Any], kept: Kept
) -> None:
    far_end = serve(before=bucket_routes(kept, Limits(body_bytes=1000), cors=False))
    status, answer, headers = far_end.request("POST", f"/{K}/user", " " * 1001, JSON)
    assert_invalid((status, answer), "body")
    assert "access-control-allow-origin" not in headers
