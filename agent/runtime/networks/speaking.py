"""The last hops of `homing doctor network`: does a WebSocket get through, and would HTTP?

Where no WebSocket gets through and HTTP does, the agent delivers (``agent.rules.fallback``), so
that the walk does not fail there either: what is blocked is a warning, with what to do about it.
A far end that refuses who asks is no such case, and stays an error.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass, replace

import msgspec

from agent.adapters.links.http_wire import HttpWire, Question
from agent.adapters.links.websocket_wire import PING, PONG, Wire
from agent.adapters.roads.atlas import Atlas
from agent.adapters.roads.patience import Patience
from agent.adapters.roads.refusals import refusal
from agent.adapters.roads.road import open_road
from agent.door.network import Hop
from agent.rules.endpoints import Address, Form, endpoint_url
from agent.rules.fallback import NO_UPGRADE
from agent.rules.verdict import ELSEWHERE
from agent.runtime.networks.names import look_up_aside
from agent.runtime.networks.steps import Steps, Stopped
from agent.runtime.networks.targets import Target
from tracking.errors import Fault, LinkFault, Refused, Unreachable

UPGRADE_S = 6.0
HTTP_S = 5.0
LEAST_S = 0.5  #: However late it is.


@dataclass(frozen=True, slots=True)
class Speaking:
    """Speaks to one far end, on a road that is laid and proven.

    Attributes:
        target: Who is spoken to.
        address: Its endpoint.
        atlas: By which another road is laid.
        context: By which it is proven.
        patience: For all of the walk.

    """

    target: Target
    address: Address
    atlas: Atlas
    context: ssl.SSLContext
    patience: Patience

    def hops(self, sock: socket.socket, steps: Steps) -> None:
        """Take the hops ``websocket`` and ``http``; the socket is used up.

        Raises:
            Stopped: Events cannot go either way.

        """
        if self.target.language == "bucket":
            steps.say("websocket", "skipped", "Bucket is spoken over HTTP")
            said = "a call would count as one; the TLS above is what HTTP needs"
            steps.say("http", "skipped", said)
            return
        statuses: list[int] = []
        try:
            steps.take("websocket", lambda: self._upgraded(sock, statuses))
        except Stopped as stopped:
            if not self._leads_to_http(stopped.__cause__, statuses):
                raise
            blocked, http = steps.hops.pop(), self._posted(steps)
            if http.verdict != "ok":
                repair = blocked.repair or "Ask whoever runs the network to let WebSockets through."
                steps.hops += [msgspec.structs.replace(blocked, repair=repair), http]
                raise
            blocked = msgspec.structs.replace(
                blocked,
                verdict="warning",
                evidence=f"no WebSocket gets through: {blocked.evidence}",
                repair="Nothing has to be done: events go over HTTP. Live users need a WebSocket.",
            )
            steps.hops += [blocked, http]
        else:
            steps.hops.append(self._posted(steps))

    def _leads_to_http(self, why: BaseException | None, statuses: list[int]) -> bool:
        """Tell whether the agent would go over HTTP for this (``agent.rules.fallback``)."""
        if not self.target.by_http:
            return False
        if isinstance(why, Refused):
            return not NO_UPGRADE.isdisjoint(statuses)
        return isinstance(why, (Unreachable, OSError))

    def _upgraded(self, sock: socket.socket, statuses: list[int]) -> tuple[None, str]:
        """Upgrade at one form of the endpoint or the other, as a link does; have a ping heard."""
        try:
            self._ping("track", sock)
        except Refused as fault:
            statuses.append(fault.status)
            if fault.status not in ELSEWHERE:
                raise
            try:
                self._ping("seed", self._road(self.address, self.patience))
            except Refused as again:
                statuses.append(again.status)
                raise
        return None, "upgraded, and a ping is answered"

    def _road(self, address: Address, patience: Patience) -> socket.socket:
        return open_road(
            address,
            patience,
            context=lambda: self.context,
            resolve=look_up_aside,
            atlas=self.atlas,
        )

    def _ping(self, form: Form, sock: socket.socket) -> None:
        """Upgrade a connected socket, which is closed afterwards; nothing that counts is sent."""
        mine = self._share(UPGRADE_S)
        url = endpoint_url(self.target.endpoint, self.target.app_id, form)
        wire = Wire(url, sock, mine, read_s=UPGRADE_S, send_s=UPGRADE_S)
        heard: list[int] = []
        try:
            wire.say(((PING, b"homing"),))
            mine.doing = "waiting for a pong"
            while PONG not in heard:
                if not wire.pending:
                    mine.wait(sock)
                wire.read(lambda opcode, _: heard.append(opcode))
        finally:
            wire.close()

    def _posted(self, steps: Steps) -> Hop:
        """See whether HTTP would do where a WebSocket cannot get through."""
        scheme = {"wss": "https", "ws": "http"}.get(self.address.scheme, self.address.scheme)
        there = replace(self.address, scheme=scheme)
        began = time.monotonic()
        patience = self._share(HTTP_S)
        fault: Fault | None = None
        try:
            sock = self._road(there, patience)
            steps.stack.callback(sock.close)
            wire = HttpWire(there, sock, "homing-doctor")
            path = endpoint_url("", self.target.app_id, "track")
            answer = wire.ask(Question(path=path, body=b'{"data":[]}'), patience)
            if not 200 <= answer.status < 300:
                fault = refusal(answer.status, answer.retry_after, answer.body)
        except (Fault, OSError) as exc:
            fault = exc if isinstance(exc, LinkFault) else Unreachable(str(exc))
        took_ms = (time.monotonic() - began) * 1000
        if fault is None:
            said = "an empty POST is answered"
            return Hop(name="http", verdict="ok", evidence=said, took_ms=took_ms)
        return Hop(
            name="http",
            verdict="warning",
            evidence=f"there would be no way without a WebSocket: {fault}",
            code=fault.code,
            took_ms=took_ms,
        )

    def _share(self, seconds: float) -> Patience:
        return Patience(min(seconds, max(LEAST_S, self.patience.until - time.monotonic())))
