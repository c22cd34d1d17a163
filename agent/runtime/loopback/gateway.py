"""The gateway: whether anybody listens on loopback, and for whom.

    no token ─► nobody listens ◄─────────────── the last one was revoked
        │ a person gives the first                          ▲
        ▼                                                   │
    listening on the port that was chosen then ─────────────┤
        │ at a start somebody else has the port             │
        ▼                                                   │
    not listening, said so, tried again every 15 s ─────────┘

Invariants:
    1. Nobody listens unless a token opens (SECURITY.md, decision 2).
    2. The port never changes by itself: apps have it in their settings.
    3. A revoked token opens nothing from that moment, and a second later nobody is connected
       who came in by it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets as chance
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from agent.adapters.local.gateway_app import IN_FLIGHT_BYTES, make_gateway_app, methods_for
from agent.adapters.local.gateway_protocol import Gatehouse
from agent.adapters.local.gateway_socket import (
    PortTaken,
    listen_on_a_fresh_port,
    listen_on_loopback,
)
from agent.adapters.local.gateway_tokens import GatewayTokens
from agent.door.gateway import (
    GatewayStatus,
    GatewayToken,
    GiveToken,
    ListTokens,
    NewToken,
    Revoked,
    RevokeTokens,
    SdkLine,
)
from agent.rules.gatekeeping import Gate, Grant
from agent.rules.origins import check_origins, is_development
from agent.rules.origins import warnings as warnings_of
from agent.rules.sdk_lines import sdk_lines
from agent.rules.wording import visible
from tracking.bucket_endpoints import BucketSink
from tracking.endpoints import Sink
from tracking.errors import Fault, RequestFault, StorageFault
from tracking.events import Limits
from tracking.nucleus import APP_ID
from tracking.places import Places
from tracking.serving import Listener

if TYPE_CHECKING:
    import socket


log = logging.getLogger("agent.gateway")

RETRY_S = 15.0  #: How often a taken port is tried again.
GOODBYE_S = 0.5  #: How long one who is sent away may take to go.
DRAIN_S = 1.0
KNOCK_S = 3.0  #: So long a newcomer may take until it has shown its token.
WS_PING_S = 300.0  #: As on the local socket: the idle limit is ten minutes.


class Standing(NamedTuple):
    """What an app may do."""

    consent: str
    speaks: frozenset[str]


class Notes(Protocol):
    """What a person is shown."""

    def note(self, code: str, text: str, severity: str) -> None: ...
    def unnote(self, code: str) -> None: ...


class Gateway:
    """Owns the tokens and the listener. Made and used on the core's loop only.

    Args:
        file: Where tokens and port are kept.
        sink: Where frames go.
        bucket_sink: Where calls go.
        limits: What is too much.
        connections: Of those that have shown a token, at the same time; half as many may be
            about to, and the oldest of these goes first.
        port: What a person set, 0 to keep the one that was chosen.
        notes: What a person is shown.
        standing_of: Says what an app may do: its consent, as the status names it, and the
            languages in which it may report.
        is_app: Tells whether the agent knows an app of this id.
        wall_ms: Unix milliseconds.
        deadlines: ``header_s``, ``body_s`` and ``idle_s`` of the listener, if not its own.

    """

    def __init__(
        self,
        file: Path,
        sink: Sink,
        bucket_sink: BucketSink,
        limits: Limits,
        *,
        connections: int,
        port: int,
        notes: Notes,
        standing_of: Callable[[str], Standing],
        is_app: Callable[[str], bool],
        wall_ms: Callable[[], int],
        deadlines: dict[str, float] | None = None,
    ) -> None:
        self.file = file
        self.limits = limits
        self.connections = connections
        self.chosen_port = port
        self.notes = notes
        self.standing_of = standing_of
        self.is_app = is_app
        self.wall_ms = wall_ms
        self.deadlines: dict[str, Any] = {"header_s": KNOCK_S} | (deadlines or {})
        self.why = ""  #: Why nobody listens although there are tokens.
        self._app = make_gateway_app(sink, bucket_sink, limits)
        self._tokens: GatewayTokens | None = None
        self._listener: Listener | None = None
        self._house: Gatehouse | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._trying: asyncio.Task[None] | None = None
        self._closed = False
        self._turn = asyncio.Lock()  # one of opening, giving, revoking and closing at a time

    @property
    def listening(self) -> bool:
        return self._listener is not None

    @property
    def port(self) -> int:
        """Where apps expect us; 0 until the first token was given."""
        return self.chosen_port or (self._tokens.port if self._tokens else 0)

    @property
    def apps(self) -> tuple[str, ...]:
        """The apps that have a token."""
        return tuple(sorted({one.app_id for one in self._tokens.grants})) if self._tokens else ()

    async def open(self) -> None:
        """Listen if a token was given before; what hinders is shown, and ends nothing else."""
        async with self._turn:
            try:
                self._tokens = GatewayTokens(self.file)
            except Fault as fault:
                self.notes.note("gateway.file", f"the gateway is off: {fault}", "error")
                return
            if self._tokens.damaged:
                self.notes.note(
                    "gateway.file",
                    "the file of gateway tokens cannot be read back; apps need new tokens",
                    "error",
                )
            if self._tokens.grants:
                await self._listen()
                self._warn_of_origins()

    async def close(self) -> None:
        """Stop listening; the tokens stay."""
        self._closed = True
        async with self._turn:
            await self._stop()

    def app_of_digest(self, digest: str) -> str | None:
        """Return the app that the token with this SHA-256 opens."""
        opened = None
        for grant in self._tokens.grants if self._tokens else ():
            if hmac.compare_digest(grant.digest, digest):
                opened = grant.app_id
        return opened

    # --- what a person asks --------------------------------------------------------------------

    async def give(self, request: GiveToken) -> NewToken:
        """Give an app a token, and listen.

        Raises:
            RequestFault: The id is none, or an origin can never be let in.
            StorageFault: The token cannot be kept.
            PortTaken: No port is free.

        """
        if not APP_ID.fullmatch(request.app_id):
            shown = visible(request.app_id, 80)
            raise RequestFault(f"no app has the id {shown!r}", field="app_id")
        origins = check_origins(request.origins)
        async with self._turn:
            tokens = self._kept()
            fresh: list[socket.socket] = []
            if not self.port:
                fresh, port = listen_on_a_fresh_port(chance.randbelow)
                try:
                    tokens.keep_port(port)
                except Fault:
                    _close(fresh)
                    raise
            try:
                token, grant = tokens.give(request.app_id, origins, self.wall_ms())
            except Fault:
                _close(fresh)
                raise
            if self._listener is None:
                await self._listen(fresh)
            self._warn_of_origins()
        log.info("gave a gateway token app=%s origins=%d", grant.app_id, len(grant.origins))
        standing = self.standing_of(grant.app_id)
        warned = list(warnings_of(grant.origins))
        if len(standing.speaks) == 1:
            warned.append(
                f"it may report in the words of {min(standing.speaks).capitalize()} only; "
                "`speaks` in homing.toml says in which"
            )
        return NewToken(
            app_id=grant.app_id,
            token=token,
            prefix=grant.prefix,
            port=self.port,
            origins=grant.origins,
            lines=tuple(
                SdkLine(sdk=one.sdk, line=one.line, language=one.language)
                for one in sdk_lines(grant.app_id, self.port, token)
                if one.language in standing.speaks
            ),
            warnings=tuple(warned),
            consent=standing.consent,
            listening=self.listening,
            why=self.why,
        )

    async def show(self, request: ListTokens) -> GatewayStatus:
        """Return the tokens as far as they are kept."""
        grants = self._tokens.grants if self._tokens else ()
        return GatewayStatus(
            listening=self.listening,
            port=self.port,
            why=self.why,
            tokens=tuple(
                GatewayToken(
                    app_id=grant.app_id,
                    prefix=grant.prefix,
                    created_ms=grant.created_ms,
                    last_used=grant.last_used,
                    origins=grant.origins,
                )
                for grant in grants
                if request.app_id in (None, grant.app_id)
            ),
        )

    async def revoke(self, request: RevokeTokens) -> Revoked:
        """Take tokens back, and send away who came in by them.

        Raises:
            RequestFault: The app has no such token.
            StorageFault: It cannot be written, so they still open.

        """
        async with self._turn:
            gone = self._kept().revoke(request.app_id, request.prefix)
            if not gone:
                which = "" if request.prefix is None else f" {visible(request.prefix, 40)}"
                raise RequestFault(
                    f"{visible(request.app_id, 80)} has no gateway token{which}",
                    field="prefix" if which else "app_id",
                    status=404,
                    advice="`homing apps tokens` lists them.",
                )
            self._send_away({grant.digest for grant in gone})
            if not self._kept().grants:
                await self._stop()
            self._warn_of_origins()
        log.info("revoked gateway tokens app=%s count=%d", request.app_id, len(gone))
        return Revoked(prefixes=tuple(one.prefix for one in gone), listening=self.listening)

    # --- listening -----------------------------------------------------------------------------

    def _kept(self) -> GatewayTokens:
        """Return the tokens; a file that could not be used may be in order by now."""
        if self._tokens is None:
            self._tokens = GatewayTokens(self.file)
            self.notes.unnote("gateway.file")
        return self._tokens

    async def _listen(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on these sockets, or on the port that was kept; a taken one is tried again."""
        try:
            opened = sockets or listen_on_loopback(self.port)
        except PortTaken as fault:
            self.why = str(fault)
            self.notes.note(
                "gateway.port_taken", f"apps cannot reach the gateway: {fault}", "error"
            )
            log.info("the gateway's port is taken, will try again port=%d", self.port)
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._try)
            return
        gate = Gate(self.port, lambda: self._kept().grants, methods_for(self.is_app))
        self._house = Gatehouse(gate, self._used)
        self._listener = Listener(
            self._app,
            limits=self.limits,
            places=Places(
                self.connections, side=max(4, self.connections // 2), fair=True, all_wait=True
            ),
            ws_ping_s=WS_PING_S,
            unfinished_bytes=IN_FLIGHT_BYTES,
            http=self._house.protocol,
            **self.deadlines,
        )
        for sock in opened:
            await self._listener.on_socket(sock)
        self.why = ""
        self.notes.unnote("gateway.port_taken")
        log.info("the gateway listens port=%d addresses=%d", self.port, len(opened))

    def _try(self) -> None:
        self._trying = asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        async with self._turn:
            if not self._closed and self._listener is None and self._kept().grants:
                await self._listen()

    async def _stop(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.why = ""
        self.notes.unnote("gateway.port_taken")
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.drain(DRAIN_S)
            log.info("the gateway is closed port=%d", self.port)

    def _send_away(self, digests: set[str]) -> None:
        if self._listener is None or self._house is None:
            return
        loop = asyncio.get_running_loop()
        conversations = self._listener.conversations()
        for connection in tuple(self._listener.connections):
            came_in_by = self._house.inside.get(connection)
            if came_in_by is None or came_in_by.digest not in digests:
                continue
            if connection in conversations:
                connection.refuse(RequestFault("the token was revoked", status=403))
            else:
                connection.shutdown()
            loop.call_later(GOODBYE_S, connection.transport.abort)

    def _used(self, grant: Grant) -> None:
        """Keep the day of a token's use: written once a day, and never why a request fails."""
        day = datetime.fromtimestamp(self.wall_ms() / 1000, UTC).date().isoformat()
        if grant.last_used != day:
            try:
                self._kept().used(grant, day)
            except StorageFault:
                log.info("the day of a token's use could not be written app=%s", grant.app_id)

    def _warn_of_origins(self) -> None:
        grants = self._tokens.grants if self._tokens else ()
        open_to = sorted({o for grant in grants for o in grant.origins if is_development(o)})
        if open_to:
            self.notes.note(
                "gateway.development",
                f"the gateway lets in pages from {', '.join(open_to)}: whatever is served there",
                "warning",
            )
        else:
            self.notes.unnote("gateway.development")


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
