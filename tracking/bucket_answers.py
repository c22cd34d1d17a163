"""What clients of the Bucket tracking API are answered: always JSON, in the vendor's form (§4)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tracking.bucket import BODY_VALIDATION_FAILED, Batch

_HEADERS: Final = (
    "authorization",
    "bucket-sdk-version",
    "content-type",
    "idempotency-key",
    "reflag-sdk-version",
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_MOST_ASKED: Final = 32  #: Header names of a preflight that are looked at.
MOST_DESCRIBED: Final = 100  #: Sentences in one error body.


def success_body(batch: Batch, feedback_id: str | None = None) -> bytes:
    """Return what a client that was heard reads; half of them insist on the JSON (§4)."""
    said: dict[str, object] = {"success": True}
    if feedback_id is not None:
        said["feedbackId"] = feedback_id
    if batch.rejected:
        said["accepted"] = len(batch.accepted)
        said["rejected"] = [
            {"index": one.index, "code": one.code, "message": one.message} for one in batch.rejected
        ]
    return msgspec.json.encode(said)


def failure_body(code: str, message: str, errors: tuple[str, ...] = ()) -> bytes:
    """Return an error in the vendor's form (§4)."""
    error: dict[str, object] = {"code": code, "message": message}
    if errors:
        error["validationErrors"] = [{"message": text} for text in errors]
    return msgspec.json.encode({"success": False, "error": error})


def rejection_body(batch: Batch) -> bytes:
    """Return the answer to a body of which nothing can be kept."""
    errors = [text for one in batch.rejected for text in one.errors][:MOST_DESCRIBED]
    return failure_body(BODY_VALIDATION_FAILED, "the body is not valid", tuple(errors))


def cors(headers: dict[bytes, bytes]) -> dict[str, str]:
    """Return what lets a page read the answer (§1): any page, with whatever it wants to send."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    asked = headers.get(b"access-control-request-headers", b"").decode("latin-1").lower()
    names = [name.strip() for name in asked.split(",")[:_MOST_ASKED]]
    allowed = sorted({*_HEADERS, *filter(_TOKEN.fullmatch, names)})
    said = {
        "Access-Control-Allow-Origin": origin or "*",
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Allow-Headers": ", ".join(allowed),
        "Access-Control-Max-Age": "86400",
        "Vary": "Origin",
    }
    if origin:
        said["Access-Control-Allow-Credentials"] = "true"
    return said
