"""What an HTTP status means for us when it is not the one we hoped for.

    429, and 503 with Retry-After    Throttled: never sooner than told
    408, 425, other 5xx              Unreachable: it may be better in a while
    everything else                  Refused: nothing we repeat will change it

Redirects are among the refused: they are never followed, because whoever can answer for the far
end could otherwise lead a token anywhere (SECURITY.md, row 37).
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

from agent.adapters.roads.patience import words
from tracking.errors import LinkFault, Refused, Throttled, Unreachable

DAY_S = 86_400.0
POLITE_S = 60.0  #: When a far end says "too many" without saying until when.
TAG = re.compile(rb"<[^>]*>")


def refusal(
    status: int, retry_after: str | None, body: bytes, now_s: float | None = None
) -> LinkFault:
    """Say what a status means for us, in the far end's words.

    Args:
        status: Of the answer.
        retry_after: The header of that name, ``None`` if there was none.
        body: The beginning of the answer's body, in which a far end may say why.
        now_s: Unix time, for a Retry-After that is a date; the clock's if left out.

    """
    said = words(TAG.sub(b" ", body))
    detail = f"the far end answered {status}" + (f": {said}" if said else "")
    delay_s = None if retry_after is None else parse_retry_after(retry_after, now_s)
    if status == 429 or (status == 503 and delay_s is not None):
        return Throttled(detail, retry_after_s=POLITE_S if delay_s is None else delay_s)
    if status in (408, 425) or status >= 500:
        return Unreachable(detail)
    advice = "Check the app's id and key with whoever runs the far end."
    if 300 <= status < 400:
        advice = "Redirects are not followed; set the endpoint to the final address."
    elif status == 404:
        advice = "Check the app's id and the endpoint."
    return Refused(detail, status=status, advice=advice)


def parse_retry_after(text: str, now_s: float | None = None) -> float | None:
    """Return the delay that a Retry-After header names, at most a day; ``None`` if unreadable.

    Source: RFC 9110 §10.2.3, delay-seconds or an HTTP date.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), DAY_S)
    try:
        at_s = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(at_s - (time.time() if now_s is None else now_s), 0.0), DAY_S)
