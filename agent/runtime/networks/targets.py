"""The ways out that `homing doctor network` walks: those of a running agent, or of its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.door import LinkStatus
from agent.runtime.ways.leaving import Leaving
from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Target:
    """A way out to be walked.

    Attributes:
        app_id: Whose events go there.
        upstream: The way's name.
        language: ``nucleus`` or ``bucket``.
        endpoint: The far end; empty: there is none yet.
        acknowledged: What is known of the last acknowledgement, as a sentence; empty: nothing.
        silent: Events wait, and nothing was acknowledged.
        by_http: Nucleus goes over HTTP where no WebSocket gets through (``link.http_after``).
        running: An agent runs, and was asked what it knows.

    """

    app_id: str
    upstream: str
    language: Literal["nucleus", "bucket"]
    endpoint: str
    acknowledged: str = ""
    silent: bool = False
    by_http: bool = True
    running: bool = False

    @classmethod
    def of(cls, leaving: Leaving, status: LinkStatus, now_ms: int, *, by_http: bool) -> Target:
        """Return a running way out as a target."""
        said = ""
        if status.last_ack_ms is not None:
            said = f"the last one came {max(0, now_ms - status.last_ack_ms) / 1000:,.0f} s ago"
        return cls(
            app_id=leaving.desk.app_id,
            upstream=leaving.way.name,
            language=leaving.way.language,
            endpoint=leaving.endpoint,
            acknowledged=said,
            silent=status.state == "live" and status.in_flight > 0 and not said,
            by_http=by_http,
            running=True,
        )


def declared(settings: Settings, app_id: str) -> list[Target]:
    """Return the ways that the settings declare, of one app or, for an empty id, of all."""
    return [
        Target(app.id, way.name, way.language, way.endpoint, by_http=settings.link.http_after > 0)
        for app in settings.apps
        if app_id in ("", app.id)
        for upstream in app.upstreams
        for way in upstream.ways
    ]
