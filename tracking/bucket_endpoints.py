"""The server side of the Bucket tracking API over a :class:`BucketSink` (BUCKET.md §1, §3, §4).

    POST /{key}/user, company, event, events, feedback, bulk     the key names the app
    POST /user, …                                                Bearer, or ?publishableKey=
    GET  [/{key}]/features, …                                    what SDKs ask beside tracking

A call is answered when the sink says that it is durable. Official clients count anything but JSON
that says ``"success":true`` as a failure and throw their batch away, so every answer is JSON.

It lives beside the Nucleus routes on one listener. Those own WebSockets, ``…/app/{id}/track`` and
``/{id}``; these own HTTP paths that begin with a reserved word (§6, 13), which is why a reserved
word is never a key, and paths of more than one segment. Mount them before the Nucleus routes.

Invariants:
    1. Nothing is given to the sink unless a key named the app and at least one item is valid.
    2. Every answer, 4xx and 5xx too, carries the CORS headers; a preflight needs no key.
    3. The same request under one ``Idempotency-Key`` has the same answer (§9, 26). A feedback's
       id is made from the key then, so that it is one feedback whoever of two servers is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import urllib.parse
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, cast

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from tracking import bucket, bucket_answers
from tracking.acknowledging import Arrival, told, wait_of_request
from tracking.bucket import Accepted, Batch, FeedbackCall
from tracking.conversation import arrives
from tracking.endpoints import BYTES_IN_FLIGHT, NUCLEUS_PATH, InFlight, origin_of, read_body
from tracking.errors import Fault, OverQuota, RequestFault
from tracking.events import Limits
from tracking.sink import Origin
from tracking.strict_json import clip

RESERVED: Final = frozenset(
    {"user", "company", "event", "events", "feedback", "bulk", "features", "flags", "sse"}
)  #: First segments that are never a key (§6, 13).
FEEDBACK_ID_CHARS: Final = 22

_KEY_KIND: TypeAlias = Literal["path", "bearer", "publishable"]
_POSTED: Final = {
    ("user",): "user",
    ("company",): "company",
    ("event",): "event",
    ("events",): "events",
    ("feedback",): "feedback",
    ("bulk",): "bulk",
    ("features", "events"): "feature-flag-event",
    ("feedback", "prompt-events"): "prompt-event",
}
_NO_PROMPTS: Final = bucket_answers.failure_body(
    bucket.FEEDBACK_PROMPTING_DISABLED, "this server asks nobody for feedback"
)
_NO_FLAGS: Final = b'{"success":true,"features":{},"flags":{},"remoteContextUsed":false}'
_ASKED: Final = {  # what SDKs want to know of a server that only tracks (§3)
    ("POST", ("feedback", "prompting-init")): (200, _NO_PROMPTS),
    ("GET", ("feedback", "prompting-auth")): (400, _NO_PROMPTS),
    ("GET", ("features",)): (200, b'{"success":true,"features":[],"flagStateVersion":0}'),
    ("GET", ("features", "evaluated")): (200, _NO_FLAGS),
    ("GET", ("features", "enabled")): (200, _NO_FLAGS),
}


class BucketKey(msgspec.Struct, frozen=True):
    """What a request showed to say which app it is of.

    Attributes:
        kind: Where it stood. A path has a tracking key; a Bearer a secret or a publishable one.
        text: As sent.

    """

    kind: _KEY_KIND
    text: str


class Repeat(msgspec.Struct, frozen=True):
    """A request that may come again, and must not be kept twice.

    Attributes:
        key: Its ``Idempotency-Key``.
        reply: What it is answered, to be kept for its repeats.

    """

    key: str
    reply: bytes


class BucketSink(Protocol):
    """Where calls go: the collector's store, or the agent's outbox."""

    async def app_of(self, key: BucketKey) -> str | None:
        """Return the app that a key opens, None if it opens none."""
        ...

    async def keep(
        self, app_id: str, batch: Batch, origin: Origin, repeat: Repeat | None
    ) -> bytes | Arrival | None:
        """Keep the accepted calls, and quarantine the rejected items; return when all is durable.

        Feedback always has its id.

        Returns:
            The reply that was kept with an earlier request of the same key; else the rest of its
            way, if the origin asked to wait for that and it has one; else None.

        Raises:
            OverQuota: Come back later; nothing was kept.
            Fault: Nothing was kept.

        """
        ...


def bucket_routes(
    sink: BucketSink,
    limits: Limits,
    *,
    cors: bool = True,
    calls_only: bool = False,
    in_flight_bytes: int = BYTES_IN_FLIGHT,
) -> list[BaseRoute]:
    """Return the routes; mount them before :func:`tracking.endpoints.tracking_routes`.

    Args:
        sink: Where calls go.
        limits: What is too much.
        cors: Let pages of any origin in; no cookie of ours exists that they could use.
        calls_only: Leave a path that is no call to the routes behind this one.
        in_flight_bytes: Bodies read and not yet answered; one more waits unread.

    """
    return [_BucketRoute(sink, limits, cors, calls_only, in_flight_bytes)]


def segments_of(path: str) -> tuple[str, ...]:
    """Return the segments of a path; ``//K//event/`` is ``/K/event`` (§6, 14)."""
    return tuple(part for part in path.split("/") if part)


def is_bucket_path(path: str) -> bool:
    """Return whether an HTTP path is of this API when Nucleus is served beside it."""
    if NUCLEUS_PATH.fullmatch(path):
        return False
    segments = segments_of(path)
    return bool(segments) and (len(segments) > 1 or segments[0] in RESERVED)


class BucketCall(NamedTuple):
    """What a path asks for.

    Attributes:
        path: Without the key, if it had one.
        methods: That it takes.
        key: That stood in the path, else empty.

    """

    path: str
    methods: frozenset[str]
    key: str = ""


def bucket_call(path: str) -> BucketCall | None:
    """Return which call of this API a path is, None if it is none."""
    if not is_bucket_path(path):
        return None
    segments = segments_of(path)
    call = segments if segments[0] in RESERVED else segments[1:]
    methods = _methods_of(call)
    key = "" if call is segments else segments[0]
    return BucketCall("/" + "/".join(call), methods, key) if methods else None


def _methods_of(call: tuple[str, ...]) -> frozenset[str]:
    asked = frozenset(verb for verb, path in _ASKED if path == call)
    return asked | {"POST"} if call in _POSTED else asked


class _Refused(Exception):
    """The answer is known: an error of the vendor's form."""

    def __init__(
        self, status: int, code: str, message: str, errors: tuple[str, ...] = (), **headers: str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = bucket_answers.failure_body(code, message, errors)
        self.headers = headers


class _BucketRoute(BaseRoute):
    def __init__(
        self,
        sink: BucketSink,
        limits: Limits,
        cors: bool,
        calls_only: bool,
        in_flight_bytes: int,
    ) -> None:
        self.sink = sink
        self.limits = limits
        self.cors = cors
        self.is_ours = (
            (lambda path: bucket_call(path) is not None) if calls_only else is_bucket_path
        )
        self.in_flight = InFlight(in_flight_bytes)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and self.is_ours(scope["path"]):
            return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            if scope["method"] == "OPTIONS":
                response = Response(status_code=204)
            else:
                response = _json(*await self._respond(scope, headers, receive))
        except _Refused as refused:
            response = _json(refused.status, refused.body)
            response.headers.update({k.replace("_", "-"): v for k, v in refused.headers.items()})
        if self.cors:
            response.headers.update(bucket_answers.cors(headers))
        await response(scope, receive, send)

    async def _respond(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes]:
        method, segments = scope["method"], segments_of(scope["path"])
        path_key = None if segments[0] in RESERVED else segments[0]
        call = segments if path_key is None else segments[1:]
        known = call in _POSTED or (method, call) in _ASKED
        if not known or (call in _POSTED and method != "POST" and (method, call) not in _ASKED):
            raise _nothing_here(method, call)
        app_id = await self._app(path_key, headers, scope["query_string"])
        if (method, call) in _ASKED:
            return _ASKED[method, call]
        return await self._post(app_id, _POSTED[call], scope, headers, receive)

    async def _app(self, path_key: str | None, headers: dict[bytes, bytes], query: bytes) -> str:
        """Return whose request it is: the path says it, else the header, else the query."""
        key: BucketKey | None = None
        if path_key is not None:
            key = BucketKey("path", path_key)
        else:
            scheme, _, rest = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and rest.strip():
                key = BucketKey("bearer", rest.strip())
            else:
                asked = urllib.parse.parse_qs(query.decode("latin-1"))
                if "publishableKey" in asked:
                    key = BucketKey("publishable", asked["publishableKey"][0])
        try:
            app_id = None if key is None else await self.sink.app_of(key)
        except Fault as fault:
            raise _failed(fault) from None
        if app_id is None:
            # The seeds know no other error than 400; who shows a key in a header has read of 403.
            status = 400 if path_key is not None else 403
            raise _Refused(status, bucket.INVALID_API_KEY, "the key opens no app here")
        return app_id

    async def _post(
        self,
        app_id: str,
        method: str,
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
    ) -> tuple[int, bytes]:
        _check_type(headers)
        try:
            wait_s = wait_of_request(headers, scope["query_string"])
            body = await read_body(headers, receive, self.limits.body_bytes)
        except RequestFault as fault:
            raise _invalid(f"{fault.field or 'body'}: {fault}") from None
        origin = msgspec.structs.replace(origin_of(scope, "http"), wait_s=wait_s)
        key = headers.get(b"idempotency-key", b"").decode("latin-1")
        await self.in_flight.enter(len(body))
        try:
            status, reply, arrival = await self._keep(app_id, method, body, origin, key)
        finally:
            await self.in_flight.leave(len(body))
        if wait_s is None or status != 200:
            return status, reply
        delivered = await arrives(arrival, wait_s, receive)
        return 200 if delivered else 202, told(reply, delivered)

    async def _keep(
        self, app_id: str, method: str, body: bytes, origin: Origin, key: str
    ) -> tuple[int, bytes, Arrival | None]:
        """Hand a body to the sink; return the answer to it, and the rest of its way."""
        batch = await self._parse(method, body)
        if not batch.accepted:
            return 400, bucket_answers.rejection_body(batch), None
        batch, feedback_id = _named(batch, app_id, key)
        reply = bucket_answers.success_body(batch, feedback_id if method == "feedback" else None)
        try:
            repeat = Repeat(key, reply) if key else None
            kept = await self.sink.keep(app_id, batch, origin, repeat)
        except Fault as fault:
            raise _failed(fault) from None
        return (200, kept, None) if isinstance(kept, bytes) else (200, reply, kept)

    async def _parse(self, method: str, body: bytes) -> Batch:
        """Understand a body; let others be served while a long one is."""
        steps = bucket.parse_in_steps(method, body, limits=self.limits)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return cast(Batch, done.value)
            await asyncio.sleep(0)


def _named(batch: Batch, app_id: str, repeat: str) -> tuple[Batch, str | None]:
    """Give every new feedback its id (invariant 3); return the last one's too."""
    feedback_id: str | None = None
    named: list[Accepted] = []
    for one in batch.accepted:
        call = one.call
        if isinstance(call, FeedbackCall):
            feedback_id = call.feedback_id or _feedback_id(app_id, repeat, one.index)
            call = msgspec.structs.replace(call, feedback_id=feedback_id)
        named.append(Accepted(one.index, call))
    if feedback_id is None:
        return batch, None
    return msgspec.structs.replace(batch, accepted=tuple(named)), feedback_id


def _feedback_id(app_id: str, repeat: str, index: int) -> str:
    if not repeat:
        return secrets.token_urlsafe(16)[:FEEDBACK_ID_CHARS]
    said = msgspec.json.encode([app_id, repeat, index])
    return hashlib.blake2b(said, digest_size=FEEDBACK_ID_CHARS // 2).hexdigest()


def _check_type(headers: dict[bytes, bytes]) -> None:
    """Take JSON only (§6, 9): so a page cannot post blindly to a server on this machine."""
    said = headers.get(b"content-type", b"").decode("latin-1")
    if said.split(";", 1)[0].strip().lower() != "application/json":
        raise _invalid(f"Content-Type: Expected application/json, got {clip(said)}")
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if encoding.strip().lower() != "identity":
        raise _invalid(f"Content-Encoding: Expected none, got {clip(encoding)}")


def _invalid(why: str) -> _Refused:
    return _Refused(400, bucket.BODY_VALIDATION_FAILED, "the request is not valid", (why,))


def _failed(fault: Fault) -> _Refused:
    """Return what a fault of the sink's is to a client: come back later, or a server's error."""
    if isinstance(fault, OverQuota):
        wait = str(max(1, math.ceil(fault.retry_after_s)))
        return _Refused(503, bucket.UNKNOWN_ERROR, str(fault), Retry_After=wait)
    if isinstance(fault, RequestFault) and fault.status == 403:  # it is not allowed, or not so
        why = f"{fault}. {fault.advice}" if fault.advice else str(fault)
        return _Refused(403, bucket.INVALID_API_KEY, why)
    if isinstance(fault, RequestFault):
        return _Refused(400, bucket.BODY_VALIDATION_FAILED, str(fault), (str(fault),))
    return _Refused(500, bucket.UNKNOWN_ERROR, str(fault))


def _nothing_here(method: str, call: tuple[str, ...]) -> _Refused:
    if allowed := _methods_of(call):
        allow = ", ".join(sorted({*allowed, "OPTIONS"}))
        return _Refused(405, bucket.UNKNOWN_ERROR, f"{clip(method)} is not for this", Allow=allow)
    code = bucket.FEATURE_NOT_FOUND if call[:1] == ("flags",) else bucket.UNKNOWN_ERROR
    return _Refused(404, code, "there is nothing at this path")


def _json(status: int, body: bytes) -> Response:
    return Response(body, status_code=status, media_type="application/json")
