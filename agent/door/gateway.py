"""Gateway tokens at the door: give one, list them, take them back (docs/gateway.md)."""

from __future__ import annotations

from typing import Literal

import msgspec

from agent.door.asking import Request


class SdkLine(msgspec.Struct, frozen=True, kw_only=True):
    """What to write in an app that uses this client."""

    sdk: str
    line: str
    language: Literal["nucleus", "bucket"]


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just given; it is told this once."""

    app_id: str
    token: str
    prefix: str  #: Its first characters, by which it is listed and revoked.
    port: int
    origins: tuple[str, ...] = ()
    lines: tuple[SdkLine, ...] = ()  #: Of the clients whose language the app may report in.
    warnings: tuple[str, ...] = ()  #: What its origins let in besides the app, and such.
    consent: str = ""  #: The app's, as in the status; a token does not replace it.
    listening: bool = True
    why: str = ""  #: Why nobody listens, else empty.


class GiveToken(Request[NewToken], frozen=True):
    """Give an app a token for the gateway; the first one opens it."""

    app_id: str
    origins: tuple[str, ...] = ()  #: Pages that may use it, as their browser names them.
    new: bool = False  #: Nobody knows the app yet, and that is no typing error.


class GatewayToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token as far as it is kept."""

    app_id: str
    prefix: str
    created_ms: int
    last_used: str = ""  #: Day, UTC; empty if never.
    origins: tuple[str, ...] = ()


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway and who may come in."""

    listening: bool
    port: int  #: 0 until the first token was given.
    why: str = ""  #: Why nobody listens although there are tokens, else empty.
    tokens: tuple[GatewayToken, ...] = ()


class ListTokens(Request[GatewayStatus], frozen=True):
    """Look at the tokens of an app, or at all."""

    app_id: str | None = None


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken back."""

    prefixes: tuple[str, ...]
    listening: bool  #: False: that was the last one, and the gateway is closed.


class RevokeTokens(Request[Revoked], frozen=True):
    """Take tokens back; who is connected with one is sent away within a second."""

    app_id: str
    prefix: str | None = None  #: None: all of the app's.
