"""What a Bucket far end's answer means for the items that it was asked to take.

    2xx, JSON that says success        taken; a collector may name items that it rejected
    2xx, JSON that says no success     as 400 (BUCKET.md §6, 17)
    2xx, anything else                 of a vendor: taken, and said to be odd (§9, 58);
                                       of a collector, or a page in HTML: it was somebody else
    400, 413, 422 and their like       unfit: the items are at fault
    … with INVALID_API_KEY in it       a refusal of the key: path keys are refused that way (§6, 10)
    401-405, 407, 410, 421, 426, 451   a refusal of who asks, or where: the items are not at fault
    3xx                                a refusal; never followed
    408, 425, 429, 5xx, no HTTP        try again (``agent.adapters.roads.refusals``)

Only the status decides what happens; the body gives words to show, and the three members that are
documented (``success``, ``error``, ``rejected``). Nothing in a body raises.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent.adapters.links.http_wire import Answer
from agent.adapters.roads.patience import words
from agent.adapters.roads.refusals import TAG, refusal
from agent.rules.notices import Lost
from agent.rules.questions import Taken, Unfit
from tracking.bucket import INVALID_API_KEY
from tracking.errors import Refused, Unreachable

#: 4xx that speak of the asker, the place or the moment; every other speaks of what was asked.
NOT_THE_ITEMS: Final = frozenset((401, 402, 403, 404, 405, 407, 410, 421, 426, 451))
AGAIN: Final = frozenset((408, 425, 429))
KEY_CODES: Final = frozenset((INVALID_API_KEY, "WRONG_REGION"))
FORBIDDEN: Final = 403
WORDS_CHARACTERS, CODE_CHARACTERS = 200, 60  #: A dead letter keeps no more.


class _Rejected(msgspec.Struct):
    index: object = None
    code: object = None
    message: object = None


class _Error(msgspec.Struct, rename="camel"):
    code: object = None
    message: object = None
    validation_errors: object = None


class _Body(msgspec.Struct):
    success: object = None
    error: object = None
    rejected: object = None


_BODY: Final = msgspec.json.Decoder(_Body)


def meaning(number: int, answer: Answer, *, vendor: bool) -> Taken | Unfit | Lost:
    """Say what an answer means.

    Args:
        number: Of the question.
        answer: As it came.
        vendor: The far end may answer a 2xx as it likes; a collector of ours always says success.

    """
    body = _body_of(answer)
    if 200 <= answer.status < 300:
        return _success(number, answer, body, vendor)
    said, code = _said(answer, body)
    if code in KEY_CODES and 400 <= answer.status < 500:
        return Lost(number, _refused(FORBIDDEN, said))
    if answer.status in NOT_THE_ITEMS or answer.status < 400:
        return Lost(number, refusal(answer.status, answer.retry_after, said.encode()))
    if answer.status < 500 and answer.status not in AGAIN:
        said = _with_code(said or f"the far end answered {answer.status}", code)
        return Unfit(number, answer.status, said)
    return Lost(number, refusal(answer.status, answer.retry_after, said.encode()))


def _success(number: int, answer: Answer, body: _Body | None, vendor: bool) -> Taken | Unfit | Lost:
    if body is not None and body.success is True:
        return Taken(number, _rejected(body.rejected))
    if body is not None and body.success is False:
        said, code = _said(answer, body)
        if code in KEY_CODES:
            return Lost(number, _refused(FORBIDDEN, said))
        said = said or "the far end says that it had no success"
        return Unfit(number, answer.status, _with_code(said, code))
    text = answer.body.lstrip()
    page = answer.content_type == "text/html" or text[:1] == b"<"
    if page or not vendor:
        shown = words(TAG.sub(b" ", answer.body))[:80]
        fault = Unreachable(
            f"something answered {answer.status} that is not the far end: {shown or 'nothing'}",
            advice="A proxy or a login page may stand in between; `homing doctor network` looks.",
        )
        return Lost(number, fault)
    what = "without a word" if not text else "without saying success"
    return Taken(number, odd=f"the far end answered {answer.status} {what}; counted as delivered")


def _body_of(answer: Answer) -> _Body | None:
    """Return the answer's JSON object, None if it is none."""
    if not answer.whole:
        return None
    try:
        return _BODY.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _rejected(listed: object) -> tuple[tuple[int, str], ...]:
    """Return index and words of what was rejected, as far as it can be read."""
    found: dict[int, str] = {}
    for one in listed if isinstance(listed, list) else []:
        try:
            item = msgspec.convert(one, _Rejected)
        except msgspec.ValidationError:
            continue
        if isinstance(item.index, int) and not isinstance(item.index, bool):
            said = words(item.message) if isinstance(item.message, str) else ""
            code = item.code if isinstance(item.code, str) else ""
            found.setdefault(item.index, _with_code(said or "rejected without a word", code))
    return tuple(found.items())


def _said(answer: Answer, body: _Body | None) -> tuple[str, str]:
    """Return the far end's words, one line of plain text, and its code."""
    try:
        error = msgspec.convert(None if body is None else body.error, _Error)
    except msgspec.ValidationError:
        return words(TAG.sub(b" ", answer.body)), ""
    sentences = [error.message] if isinstance(error.message, str) else []
    details = error.validation_errors if isinstance(error.validation_errors, list) else []
    for one in details[:3]:
        text = one.get("message") if isinstance(one, dict) else None
        if isinstance(text, str):
            sentences.append(text)
    code = error.code if isinstance(error.code, str) else ""
    return words("; ".join(str(one) for one in sentences) or code), code


def _with_code(said: str, code: str) -> str:
    """Return what was said with the far end's code for it, in as many characters as words have."""
    tail = f" ({words(code)[:CODE_CHARACTERS]})" if code and code != said else ""
    return said[: WORDS_CHARACTERS - len(tail)] + tail


def _refused(status: int, said: str) -> Refused:
    return Refused(
        f"the far end refuses the key: {said}",
        status=status,
        advice="Check the key of this upstream: homing upstreams key APP NAME",
    )
