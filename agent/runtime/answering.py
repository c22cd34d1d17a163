"""Who answers which request of the door: one table over the handlers of every topic.

A topic's module offers ``handlers(core)``; a test holds this table against ``agent.door.table``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from agent.door.asking import Request
from agent.runtime import wire
from agent.runtime.counter import linting, redacting
from agent.runtime.loopback import gateway_door
from agent.runtime.networks import network_door
from agent.runtime.people import apps, your_data
from agent.runtime.ways import reconciliation, upstream_keys, upstreams

if TYPE_CHECKING:
    from agent.runtime.core import Core

Handler: TypeAlias = Callable[[Any], Awaitable[Any]]
Handlers: TypeAlias = Mapping[type[Request[Any]], Handler]

#: Each topic's own table, made for one core.
TOPICS: tuple[Callable[[Core], Handlers], ...] = (
    apps.handlers,
    gateway_door.handlers,
    linting.handlers,
    network_door.handlers,
    reconciliation.handlers,
    redacting.handlers,
    upstream_keys.handlers,
    upstreams.handlers,
    wire.handlers,
    your_data.handlers,
)


def handlers(core: Core) -> Handlers:
    """Return the handler of every request."""
    return {request: handler for topic in TOPICS for request, handler in topic(core).items()}
