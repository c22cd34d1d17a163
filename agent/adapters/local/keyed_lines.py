"""Lines over loopback: the first one brings the token, and nothing before it is listened to.

Over a Unix socket the folder's mode and the peer's user id say who may speak; on 127.0.0.1 every
user of the machine can connect, so a connection begins with ``{"token":"…"}`` and gets no answer
to it. A wrong one is closed without a word.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import msgspec

from tracking.events import Limits
from tracking.lines import LineProtocol
from tracking.sink import LineSink

GREETING_BYTES = 512


class _Greeting(msgspec.Struct):
    token: str


class KeyedLineProtocol(LineProtocol):
    """One connection that must show the token first."""

    def __init__(self, sink: LineSink, limits: Limits, token: str, **more: Any) -> None:
        super().__init__(sink, limits, **more)
        self._token = token.encode()
        self._greeting = bytearray()
        self._let_in = False

    def data_received(self, data: bytes) -> None:
        if self._let_in:
            super().data_received(data)
            return
        self._greeting += data
        line, end, rest = bytes(self._greeting).partition(b"\n")
        if not end and len(line) <= GREETING_BYTES:
            return
        if not end or not self._is_right(line):
            if self.transport is not None:
                self.transport.close()
            return
        self._let_in = True
        self._greeting.clear()
        if rest:
            super().data_received(rest)

    def _is_right(self, line: bytes) -> bool:
        try:
            said = msgspec.json.decode(line, type=_Greeting).token.encode()
        except (msgspec.MsgspecError, UnicodeEncodeError):
            said = b""
        return hmac.compare_digest(said, self._token)


def keyed_line_factory(
    sink: LineSink, limits: Limits, token: str
) -> Callable[[int, str], KeyedLineProtocol]:
    """Return what :class:`tracking.serving.Listener` calls with a connection and its peer."""

    def build(connection: int, peer: str) -> KeyedLineProtocol:
        return KeyedLineProtocol(sink, limits, token, connection=connection, peer=peer)

    return build
