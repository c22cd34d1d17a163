"""Answers of the local API that are too long to be held: read line by line as they come."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlencode

from agent.cli.entrance import Entrance
from tracking.errors import AgentGone, Fault

PATIENCE_S = 60.0
BLOCK_BYTES = 64 * 1024


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a socket that is open already."""

    def __init__(self, entrance: Entrance) -> None:
        super().__init__("localhost")
        entrance.sock.settimeout(PATIENCE_S)
        self.sock = entrance.sock


def stream_events(entrance: Entrance, app_id: str) -> Iterator[bytes]:
    """Yield each event of an app that waits in the outbox, oldest first, as it goes on the wire.

    Args:
        entrance: To the agent; closed at the end.
        app_id: Whose events.

    Raises:
        AgentGone: It went away before the end.
        Fault: It refused.

    """
    headers = {"Connection": "close"}
    if entrance.token:
        headers["Authorization"] = f"Bearer {entrance.token}"
    with closing(_Connection(entrance)) as asked:
        try:
            query = urlencode({"app": app_id})
            asked.request("GET", f"/v1/outbox/export?{query}", headers=headers)
            answer = asked.getresponse()
            if answer.status != http.client.OK:
                raise Fault(f"the agent refused the export: HTTP {answer.status}")
            rest = b""
            # not readline(): it takes a broken chunk for the end of the answer
            while block := answer.read(BLOCK_BYTES):
                *lines, rest = (rest + block).split(b"\n")
                yield from lines
            if rest:
                yield rest
        except (OSError, http.client.HTTPException) as exc:
            raise AgentGone("the agent closed the connection") from exc
