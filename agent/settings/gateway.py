"""The gateway on loopback: its port, and nothing else.

There is no address to set: it listens on 127.0.0.1 and ::1, and on nothing that another machine
could reach (SECURITY.md, decision 2; threat row 22).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Where apps that cannot speak to a Unix socket find the agent, once a person gave them a
    token."""

    port: int = field(
        default=0,
        metadata={
            "doc": "Port of the gateway on 127.0.0.1 and ::1; 0 keeps the one that was chosen when "
            "the first token was given.",
            "low": 0,
            "high": 65_535,
        },
    )
