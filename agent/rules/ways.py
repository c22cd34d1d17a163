"""Upstreams as a person declares them, and the ways out that each of them is.

An **upstream** is one far end with a name. A **way** is one stream of events to it in one
language, with a queue, a connection and a ledger of its own:

    kind          ways                  language   transport
    nucleus       NAME                  nucleus    WebSocket
    homing        NAME                  nucleus    WebSocket, for Nucleus events
                  NAME.bucket           bucket     HTTP, for Bucket calls, same host
    bucket        NAME                  bucket     HTTP, key in the path, one call a request
    bucket-bulk   NAME                  bucket     HTTP, Bearer, at most 100 items a request

An event that an app hands in belongs on every upstream of the app. Where a way has the app's
language it is said as it is; where it has not, it is mapped (:mod:`agent.rules.mapping`); at a
Homing collector, which has both languages, each goes its own way and nothing is mapped.

Pure; words only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal["nucleus", "homing", "bucket", "bucket-bulk"]
Language = Literal["nucleus", "bucket"]
Part = Literal["said", "mapped", "elsewhere"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

ONLY: Final = "nucleus"  #: The one way of an app without an upstream; its stream's key, too.
BUCKET_WAY: Final = ".bucket"  #: What the second way of a Homing collector adds to its name.

HOSTS: Final[dict[Kind, str]] = {
    "nucleus": "wss://app.nucleus.sh",
    "bucket": "https://tracking.bucket.co",
    "bucket-bulk": "https://front.bucket.co",
}  #: Where a kind goes if no endpoint is named. A collector has no such place.


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One stream of an app's events to one far end, in one language.

    Attributes:
        name: Unique within the app, and the outbox's key of the stream.
        upstream: The declared upstream that it is of; empty for an app that has none.
        kind: Of the upstream.
        language: Of what is stored and sent.
        endpoint: ``wss://…`` or ``ws://…`` for Nucleus, ``https://…`` or ``http://…`` for Bucket;
            empty if there is no far end yet.
        events: What becomes of a Nucleus event here.
        calls: What becomes of a Bucket call here.
        key_file: File with the Bucket key; empty: the keyring has it.
        leave_out: Kinds of saying that the operator agreed not to send here: ``init``,
            ``company``, …

    """

    name: str
    upstream: str = ""
    kind: Kind = "nucleus"
    language: Language = "nucleus"
    endpoint: str = ""
    events: Part = "said"
    calls: Part = "mapped"
    key_file: str = ""
    leave_out: frozenset[str] = frozenset()


def only_way(endpoint: str = "") -> Way:
    """Return the way of an app without an upstream: to the far end on this computer, or nowhere."""
    return Way(name=ONLY, endpoint=endpoint)


def ways_of(
    *,
    name: str,
    kind: Kind,
    endpoint: str,
    key_file: str = "",
    leave_out: Sequence[str] = (),
) -> tuple[Way, ...]:
    """Return the ways that one declared upstream is, in the order in which they are shown."""
    left = frozenset(leave_out)
    if kind in ("bucket", "bucket-bulk"):
        return (
            Way(
                name=name,
                upstream=name,
                kind=kind,
                language="bucket",
                endpoint=endpoint,
                events="mapped",
                calls="said",
                key_file=key_file,
                leave_out=left,
            ),
        )
    nucleus = Way(
        name=name,
        upstream=name,
        kind=kind,
        endpoint=over_websocket(endpoint),
        calls="elsewhere" if kind == "homing" else "mapped",
        leave_out=left,
    )
    if kind == "nucleus":
        return (nucleus,)
    bucket = Way(
        name=name + BUCKET_WAY,
        upstream=name,
        kind=kind,
        language="bucket",
        endpoint=over_http(endpoint),
        events="elsewhere",
        calls="said",
        key_file=key_file,
        leave_out=left,
    )
    return nucleus, bucket


def over_websocket(endpoint: str) -> str:
    """Return the same place as a WebSocket address."""
    return _with_scheme(endpoint, {"https": "wss", "http": "ws"})


def over_http(endpoint: str) -> str:
    """Return the same place as an HTTP address."""
    return _with_scheme(endpoint, {"wss": "https", "ws": "http"})


def _with_scheme(endpoint: str, other: dict[str, str]) -> str:
    scheme, separator, rest = endpoint.partition("://")
    return other.get(scheme, scheme) + separator + rest
