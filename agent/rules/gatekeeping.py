"""Who may come in through the gateway: five checks in their order, one answer to all failures.

A web page can make a browser send nearly anything to a port of this machine, so a request is
believed only when everything about it is as an app with a token would send it (SECURITY.md, "The
gateway in detail"; threat rows 14, 15, 17-21, 23):

    1  Host           exactly ours, once: a rebound name is somebody else's
    2  /t/<token>/    256 bits, compared in constant time over SHA-256 digests
    3  Origin         absent, the gateway's own, or one that a person registered
    4  Sec-Fetch-Site says another site, and no registered Origin does: a page's doing
    5  the route      the token's own app; a method and a type that a page cannot send unasked

Invariants:
    1. Who fails learns nothing: :meth:`Gate.check` returns None, whatever was wrong.
    2. The token leaves here with nobody: what goes on is the rest of the path.
    3. A preflight passes only where the request that it asks for could.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

PREFIX_CHARS: Final = 6  #: Of a token, kept so that a person can tell two apart; 36 of 256 bits.
WEBSOCKET: Final = "WS"  #: Stands among the methods for a GET that becomes a WebSocket.
HEADERS: Final = ("content-type", "authorization", "bucket-sdk-version", "reflag-sdk-version")

#: Nothing that is decoded afterwards: what is checked here is what is served.
_PATH: Final = re.compile(rb"/t/([A-Za-z0-9_-]{1,128})/+([A-Za-z0-9._~!$&'()*+,;=:@/-]*)")
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_SAME: Final = frozenset({b"none", b"same-origin"})


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A token that a person gave an app, as far as it is kept.

    Attributes:
        digest: SHA-256 of the token, hexadecimal; the token itself is nowhere.
        prefix: Its first characters.
        app_id: The one app that it opens.
        origins: Pages that may use it, exactly as their browser names them.
        created_ms: When it was given, Unix milliseconds.
        last_used: The day (UTC, ISO 8601) on which it last opened; empty if it never has.

    """

    digest: str
    prefix: str
    app_id: str
    origins: tuple[str, ...] = ()
    created_ms: int = 0
    last_used: str = ""


class Knock(NamedTuple):
    """A request's head: all that is looked at.

    Attributes:
        method: As sent.
        target: As sent, path and query.
        headers: Names in lower case, in their order, repeated ones included.
        upgrade: It asks to become a WebSocket.

    """

    method: bytes
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    upgrade: bool


class Passed(NamedTuple):
    """Who came in.

    Attributes:
        grant: What opened.
        target: The target without the token.
        origin: The registered Origin, to be told that it may read the answer; else empty.

    """

    grant: Grant
    target: bytes
    origin: str


def digest_of(token: str | bytes) -> str:
    """Return what is kept of a token."""
    raw = token.encode() if isinstance(token, str) else token
    return hashlib.sha256(raw).hexdigest()


@dataclass(frozen=True, slots=True)
class Gate:
    """Checks requests.

    Attributes:
        port: Where we listen.
        grants: Returns the tokens that open now.
        methods_at: Returns which methods a path takes for an app, :data:`WEBSOCKET` among them.

    """

    port: int
    grants: Callable[[], Iterable[Grant]]
    methods_at: Callable[[str, str], frozenset[str]]

    def check(self, knock: Knock) -> Passed | None:
        """Return who came in, or None."""
        host = _only(knock.headers, b"host")
        if host is None or host.lower() not in self._hosts():
            return None
        path, mark, query = knock.target.partition(b"?")
        found = _PATH.fullmatch(path)
        grant = None if found is None else self._opened(found[1])
        if found is None or grant is None:
            return None
        asked_from = [value for name, value in knock.headers if name == b"origin"]
        own = b"http://" + host.lower()
        registered = asked_from[0].decode("latin-1") if asked_from else ""
        if registered not in grant.origins:
            registered = ""
        if len(asked_from) > 1 or (asked_from and not registered and asked_from[0] != own):
            return None
        sites = [value for name, value in knock.headers if name == b"sec-fetch-site"]
        # The spec's word is cross-site; a page on another port of this machine is same-site.
        if not registered and any(site.lower() not in _SAME for site in sites):
            return None
        rest = b"/" + found[2]
        if not self._is_served(knock, rest.decode("ascii"), grant.app_id, registered):
            return None
        return Passed(grant, rest + mark + query, registered)

    def _hosts(self) -> frozenset[bytes]:
        names = (b"127.0.0.1", b"[::1]", b"localhost")
        return frozenset(b"%s:%d" % (name, self.port) for name in names)

    def _opened(self, token: bytes) -> Grant | None:
        """Return what a token opens; looks at every grant, however early one fits."""
        shown = digest_of(token)
        opened: Grant | None = None
        for grant in self.grants():
            if hmac.compare_digest(shown, grant.digest):
                opened = grant
        return opened

    def _is_served(self, knock: Knock, path: str, app_id: str, registered: str) -> bool:
        methods = self.methods_at(path, app_id)
        if knock.upgrade:
            return (
                WEBSOCKET in methods
                and knock.method == b"GET"
                and _only(knock.headers, b"sec-websocket-version") == b"13"
                and _KEY.fullmatch(_only(knock.headers, b"sec-websocket-key") or b"") is not None
            )
        match knock.method:
            case b"OPTIONS":
                asked = _only(knock.headers, b"access-control-request-method") or b""
                return bool(registered) and asked.decode("latin-1") in methods - {WEBSOCKET}
            case b"GET":
                return "GET" in methods
            case b"POST":
                said = _only(knock.headers, b"content-type") or b""
                kind = said.split(b";", 1)[0].strip().lower()
                return "POST" in methods and kind == b"application/json"
        return False


def _only(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return a header's value, None if it is absent or stands there twice."""
    values = [value for header, value in headers if header == name]
    return values[0].strip() if len(values) == 1 else None
