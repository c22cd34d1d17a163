"""What is blotted out of a record of the wire before anything keeps it (threat row 16).

Pure. A record shows what left this machine, and who reads it may be somebody else: a screenshot, a
report, a backup. So what opens a door is replaced by :data:`MASK`; everything else stays byte for
byte.

Masked by form: the values of ``Authorization``, ``Proxy-Authorization``, ``Cookie`` and
``Set-Cookie`` (as headers and as members of JSON), ``Bearer …``, ``token=`` and
``publishableKey=`` (in a query, a form or JSON), the token of ``/t/<token>``, and the key that is
the first segment of a Bucket path. Masked by content: every secret that :class:`Masks` was told.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = b"***"
SHORTEST_SECRET: Final = 6  #: Bytes; shorter ones would blot out ordinary words.

#: One of these stands in every text that a pattern below matches; looking for them costs a
#: hundredth of what the patterns cost.
_SIGNS: Final = (b"authorization", b"bearer", b"token", b"publishablekey", b"/t/", b"cookie")
_END: Final = rb"[^\r\n\"\\]+"
_PATTERNS: Final = (
    # The scheme of an authorization is no secret and tells two mistakes apart.
    re.compile(
        rb"(?i)((?:proxy-)?authorization(?:\s*[:=]\s*|\\?\"\s*:\s*\\?\")"
        rb"(?:(?:bearer|basic|digest|negotiate|ntlm)\s+)?)" + _END
    ),
    re.compile(rb"(?i)((?:set-)?cookie(?:\s*:\s*|\\?\"\s*:\s*\\?\"))" + _END),
    re.compile(rb"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{4,}"),
    re.compile(
        rb"(?i)((?:[a-z_-]*token|publishable_?key)(?:=|\\?\"\s*:\s*\\?\"))[^&\s\"\\;,<>]{4,}"
    ),
    re.compile(rb"(/t/)[A-Za-z0-9._~%-]{8,}"),
)
_METHODS: Final = rb"(?:user|company|event|events|feedback|bulk|features|flags)"
_BUCKET: Final = re.compile(
    rb"((?:GET|POST|PUT|DELETE) |://[^/\s\"]+)(/)[^/\s\"?]{8,}(/" + _METHODS + rb"\b)"
)


def masked(said: bytes) -> bytes:
    """Return what was said without what opens a door, by its form."""
    small = said.lower()
    if any(sign in small for sign in _SIGNS):
        for pattern in _PATTERNS:
            said = pattern.sub(rb"\1" + MASK, said)
    if (
        b"/user" in small
        or b"/company" in small
        or b"/event" in small
        or b"/f" in small
        or (b"/bulk" in small)
    ):
        said = _BUCKET.sub(rb"\1\2" + MASK + rb"\3", said)
    return said


class Masks:
    """The secrets that are known, besides those that are known by their form."""

    def __init__(self) -> None:
        self._secrets: tuple[bytes, ...] = ()

    def add(self, secret: str | bytes) -> None:
        """Blot this out from now on, wherever it stands; too short a word is left alone."""
        raw = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
        if len(raw) >= SHORTEST_SECRET and raw not in self._secrets:
            # Longest first: one secret may begin another. A tuple, because a thread may be reading.
            self._secrets = tuple(sorted((*self._secrets, raw), key=len, reverse=True))

    def apply(self, said: bytes) -> bytes:
        """Return what was said without any secret."""
        for secret in self._secrets:
            if secret in said:
                said = said.replace(secret, MASK)
        return masked(said)
