"""Whether a network wants a person to sign in, told from what it answered (FIELD.md R33).

Looked at only after a road to the far end has failed, and only by what came back under the far
end's own name: a portal takes what is plain HTTP and answers in the far end's place. A far end
may as well have a web page on port 80, a certificate that ran out, and a server that is down, so
one sign alone is not enough:

    511 (RFC 6585 §6)                       a portal says so itself
    sent to another host                    a portal, unless the certificate is merely too old
    a page, and a certificate that is not   a portal
      the far end's (other name or issuer)
    a page that wants something (a form,    a portal, if nobody answered on the far end's port
      a script or refresh that leads on)

    sent to the same host by https          the far end itself
    anything else                           an outage
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from tracking.errors import Fault, Silent, Unproven, Unreachable

PAGE = re.compile(rb"<\s*(?:!doctype\s+html|html|head|body|form|meta|script)\b", re.IGNORECASE)
WANTS = re.compile(
    rb"<\s*form\b|http-equiv\s*=\s*[\"']?refresh|location\s*(?:\.href\s*)?=|location\.replace",
    re.IGNORECASE,
)
REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back when ``http://HOST/`` was asked.

    Attributes:
        status: Of the answer.
        location: Where it sends us, if anywhere.
        body: Its beginning.

    """

    status: int
    location: str = ""
    body: bytes = b""


def worth_asking(fault: Fault) -> bool:
    """Tell whether a failure may be a portal's doing."""
    return isinstance(fault, (Unproven, Silent)) or type(fault) is Unreachable


def portal_sign(host: str, fault: Fault, answer: Answered) -> str:
    """Return what shows that a portal stands in the way, or nothing.

    Args:
        host: The far end's.
        fault: How the road to it failed.
        answer: What plain HTTP under its name brought.

    """
    if answer.status == 511:
        return "it answered 511, network authentication required"
    why = fault.why if isinstance(fault, Unproven) else "silence"
    if why in ("time", "protocol"):  # its name and issuer were right: the far end itself
        return ""
    if answer.status in REDIRECTS:
        there = _host_of(answer.location)
        if there and not _same_house(there, host):
            return f"asked for {host}, it sends to {there[:100]}"
        return ""
    if answer.status != 200 or not PAGE.search(answer.body):
        return ""
    if why in ("name", "authority"):
        return f"asked for {host}, it shows a page of its own"
    if WANTS.search(answer.body):
        return f"asked for {host}, it shows a page that wants something"
    return ""


def _host_of(location: str) -> str:
    try:
        return (urlsplit(location).hostname or "").lower()
    except ValueError:
        return ""


def _same_house(one: str, other: str) -> bool:
    """Tell whether two names are one, or one below the other: ``www.a.example``, ``a.example``."""
    one, other = one.rstrip("."), other.lower().rstrip(".")
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
