"""What clients of the Bucket tracking API are answered: always JSON, in the vendor's form (§4)."""

from __future__ import annotations

from typing import Final

import msgspec

from tracking.bucket import BODY_VALIDATION_FAILED, Batch

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
