"""Questions to a far end's Data API v1: quick glance, who is live, what it holds; and the deletion.

A client of a few questions, one connection each. The answer is a stranger's: at most 2 MiB,
nested at most 16 deep, whole within ten seconds, of the types we know, or it is a fault; nothing
in it can raise anything else. The token goes into one header and only to the origin it was saved
for: redirects are not followed, and there is no other way to another host.

Any thread may ask; every call blocks for at most ``deadline_s``, plus what the resolver takes.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from agent.adapters.links.http_wire import peer_of
from agent.adapters.roads.atlas import Atlas
from agent.adapters.roads.patience import Patience, as_fault, send_all
from agent.adapters.roads.plain_get import read_response
from agent.adapters.roads.refusals import refusal
from agent.adapters.roads.road import open_road
from agent.adapters.roads.tls import client_context
from agent.rules.endpoints import parse_address
from agent.rules.masking import MASK
from tracking.errors import SecretFault, Unreachable
from tracking.nucleus import parse_ms

BODY_BYTES = 2 * 1024 * 1024
DEPTH = 16
#: A string that never ends is matched to the end, or a hostile one would cost O(n²).
STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
ROUND = bytes.maketrans(b"{}", b"[]")
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

Answer = TypeVar("Answer")


class Quickglance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The last 24 hours, and the 24 before (``previous_…``)."""

    installs: int
    users: int
    app_starts: int
    errors: int
    previous_installs: int
    previous_users: int
    previous_app_starts: int
    previous_errors: int


class LiveUser(msgspec.Struct, frozen=True, kw_only=True):
    """A device with an open connection to the far end."""

    device_id: str
    user_id: str | None
    platform: str | None
    os_version: str | None
    country: str | None
    last_seen_ms: int  #: 0 if the far end does not say.


class _Row(msgspec.Struct, frozen=True, rename="camel"):
    device_id: str | None = None
    user_id: str | None = None
    platform: str | None = None
    os_version: str | None = None
    country: str | None = None
    last_seen: int | float | str | None = None


class _Glance(msgspec.Struct, frozen=True):
    data: Quickglance


class _Rows(msgspec.Struct, frozen=True):
    data: list[_Row]


class _Count(msgspec.Struct, frozen=True):
    data: int


class ReckonedHour(msgspec.Struct, frozen=True, rename="camel"):
    """What is held of one device's events that are dated in one hour."""

    device_id: str
    hour: str
    events: int
    digest: str
    unbelieved: int = 0

    @property
    def hour_ms(self) -> int:
        """The hour's beginning, 0 if it cannot be read."""
        return parse_ms(self.hour) or 0


class Erasures(msgspec.Struct, frozen=True):
    """Who was erased, without saying who."""

    count: int = 0
    last: str | None = None


class Reckoning(msgspec.Struct, frozen=True, rename="camel"):
    """What is held of some devices."""

    hours: list[ReckonedHour]
    erasures: Erasures = Erasures()
    kept_since: str | None = None


class _Reckoned(msgspec.Struct, frozen=True):
    data: Reckoning


class _Nobody(msgspec.Struct, frozen=True):
    field: str | None = None


class Exchange(NamedTuple):
    """One half of a question and its answer, as it was on the wire.

    Attributes:
        direction: ``sent`` or ``received``.
        head: Method and path, or the status.
        body: What was said; of a question its whole head, token and all. Who is to be deleted
            is not named.
        peer: Who proved to be there.
        size: Bytes on the wire.

    """

    direction: Literal["sent", "received"]
    head: str
    body: bytes
    peer: str
    size: int


class DataApi:
    """One app's numbers at one far end.

    Args:
        origin: ``https://host[:port]``, or ``http://`` for this machine.
        app_id: Whose numbers.
        token: Sent as ``Authorization: <token>``, as Nucleus wants it; none if empty.
        ca_file: PEM certificates trusted beside the computer's own.
        deadline_s: For one question and its whole answer.
        atlas: Hosts, proxies and logins of this agent.
        record: Hears what is asked and answered, for the record of the wire.

    Raises:
        SettingsFault: ``origin`` is not such an address.
        SecretFault: ``token`` cannot be sent in a header.

    """

    def __init__(
        self,
        origin: str,
        app_id: str,
        token: str = "",
        *,
        ca_file: Path | None = None,
        deadline_s: float = 10.0,
        atlas: Atlas | None = None,
        record: Callable[[Exchange], None] = lambda _: None,
    ) -> None:
        self._address = parse_address(origin, ("https", "http"))
        if token and not re.fullmatch(r"[!-~]+", token):
            raise SecretFault("the Data API token has characters that no header can carry")
        self._app_id = app_id
        self._token = token
        self._ca_file = ca_file
        self._deadline_s = deadline_s
        self._atlas = atlas
        self._record = record

    def quickglance(self) -> Quickglance:
        """Return the last 24 hours against the 24 before.

        Raises:
            Fault: No road, no right to ask, or no sensible answer.

        """
        return self._ask("analytics/quickglance", _Glance).data

    def live_users(self) -> tuple[LiveUser, ...]:
        """Return the devices that are connected to the far end now.

        Raises:
            Fault: As :meth:`quickglance`.

        """
        return tuple(
            LiveUser(
                device_id=row.device_id or "",
                user_id=row.user_id,
                platform=row.platform,
                os_version=row.os_version,
                country=row.country,
                last_seen_ms=max(0, parse_ms(row.last_seen) or 0),
            )
            for row in self._ask("live/users", _Rows).data
        )

    def live_users_count(self) -> int:
        """Return how many devices are connected to the far end now.

        Raises:
            Fault: As :meth:`quickglance`.

        """
        return self._ask("live/users/count", _Count).data

    def reckoning(self, start_ms: int, end_ms: int, devices: Sequence[str]) -> Reckoning:
        """Return how many events of some devices are held, by hour, with digests of their ids.

        A Homing collector's own question; another far end refuses it.

        Raises:
            Fault: As :meth:`quickglance`.

        """
        query = urlencode(
            {"start": start_ms, "end": end_ms, "devices": msgspec.json.encode(devices).decode()}
        )
        return self._ask(f"reckoning?{query}", _Reckoned).data

    def erase(self, person: str) -> bytes:
        """Have a person deleted; return the receipt.

        Returns:
            Nothing if the far end gives no receipt, or knows nobody of that name.

        Raises:
            Refused: The token may not, or there is no such place.
            Fault: As :meth:`quickglance`.

        """
        path = f"users/{quote(person, safe='')}?receipt=1"
        well = (200, 202, 204, 404)
        status, said = self._call("DELETE", path, well, "return=representation", person)
        if status != 404:
            return said
        try:
            nobody = msgspec.json.decode(said, type=_Nobody).field == "userId"
        except msgspec.MsgspecError:
            nobody = False
        if not nobody:  # it is the address that is unknown, not the person
            raise refusal(status, None, said)
        return b""

    def _ask(self, question: str, shape: type[Answer]) -> Answer:
        return read_answer(self._call("GET", question, (200,))[1], shape)

    def _call(
        self,
        method: str,
        question: str,
        well: Sequence[int],
        prefer: str = "",
        person: str = "",
    ) -> tuple[int, bytes]:
        address = self._address

        def note(kind: str, direction: Literal["sent", "received"], said: bytes) -> None:
            head = f"{kind} {said.split(b' ', 1)[0].decode()}"
            self._record(Exchange(direction, head, said, "", len(said)))

        patience = Patience(self._deadline_s, note=note)
        sock = open_road(
            address, patience, context=lambda: client_context(self._ca_file), atlas=self._atlas
        )
        patience.doing = "the answer"
        path = f"{address.path}/api/v1/apps/{quote(self._app_id, safe='')}/{question}"
        ask = (
            f"{method} {path} HTTP/1.1\r\nHost: {address.authority}\r\nAccept: application/json\r\n"
        )
        if prefer:
            ask += f"Prefer: {prefer}\r\n"
        if self._token:
            ask += f"Authorization: {self._token}\r\n"
        peer, said = peer_of(sock), f"{ask}Connection: close\r\n\r\n".encode()
        # Or the record would keep whom everybody was asked to forget.
        whom = f"/{quote(person, safe='')}?" if person else ""
        shown = path.replace(whom, "/***?") if person else path
        noted = said.replace(path.encode(), shown.encode(), 1)
        self._record(Exchange("sent", f"{method} {shown}", noted, peer, len(said)))
        try:
            send_all(sock, said, patience)
            with read_response(sock, patience) as response:
                status, after = response.status, response.getheader("retry-after")
                body = response.read(BODY_BYTES + 1 if status in well else 2048)
                head = f"{status} {unnamed(response.reason.encode(), person).decode()}"
                self._record(Exchange("received", head, unnamed(body, person), peer, len(body)))
                if status not in well:
                    raise refusal(status, after, body)
        except http.client.HTTPException as exc:
            raise Unreachable(f"{address.host} does not speak HTTP") from exc
        except OSError as exc:
            raise as_fault(exc, address.host) from exc
        finally:
            sock.close()
        if len(body) > BODY_BYTES:
            raise Unreachable(f"{address.host} answers with more than {BODY_BYTES} bytes")
        return status, body


def unnamed(said: bytes, person: str) -> bytes:
    """Return what was said about a person without naming them, in whichever spelling."""
    if not person:
        return said
    spellings = (
        person.encode(),
        quote(person, safe="").encode(),
        msgspec.json.encode(person)[1:-1],
        json.dumps(person)[1:-1].encode(),
    )
    for spelling in sorted(set(spellings), key=len, reverse=True):
        said = re.sub(rb"(?<![A-Za-z0-9])" + re.escape(spelling) + rb"(?![A-Za-z0-9])", MASK, said)
    return said


def read_answer(body: bytes, shape: type[Answer]) -> Answer:
    """Decode an answer of a known shape.

    Raises:
        Unreachable: It is of any other shape, or nested too deep.

    """
    if nesting(body) > DEPTH:
        raise Unreachable(f"the far end's answer is nested more than {DEPTH} deep")
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise Unreachable("the far end's answer is not what the Data API promises") from exc


def nesting(body: bytes) -> int:
    """Return how deep the brackets of a JSON text are nested, at most ``DEPTH + 1``.

    Each round takes the innermost pairs away, at the speed of C: 2 MiB made to be slow cost
    0.1 s this way and 1 s bracket by bracket.
    """
    left = STRING.sub(b"", body).translate(ROUND, NO_BRACKETS)
    for depth in range(DEPTH + 1):
        if not left:
            return depth
        left = left.replace(b"[]", b"")
    return DEPTH + 1
