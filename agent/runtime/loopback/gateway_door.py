"""The gateway of one core: made of what the core has, and asked through the door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.adapters.local.gateway_socket import PortTaken
from agent.door import Check
from agent.door.gateway import (
    GatewayStatus,
    GiveToken,
    ListTokens,
    NewToken,
    Revoked,
    RevokeTokens,
)
from agent.rules.consent import Consent
from agent.runtime.counter.bucket_reception import GatewayReception
from agent.runtime.counter.reception import Reception
from agent.runtime.loopback.gateway import Gateway, Standing
from agent.runtime.people.apps import Apps
from tracking.events import Limits

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core

FILE = "gateway.json"  #: In the state folder.
MOST_NAMED = 5  #: Apps in one line.


class _Shown:
    """Notes of the gateway on the core's board."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def note(self, code: str, text: str, severity: str) -> None:
        self.core.note(code, text, severity)

    def unnote(self, code: str) -> None:
        if code in self.core.board.notices:
            self.core.board.unnote(code)
            self.core.watchers.changed()


def gateway_of(core: Core, limits: Limits) -> Gateway:
    """Return the gateway of a core, not opened yet."""

    def standing_of(app_id: str) -> Standing:
        desk = core.desks.get(app_id)
        if desk is None:  # as of every app that homing.toml does not declare
            return Standing(Consent.PENDING.value, frozenset({"nucleus"}))
        return Standing(desk.consent.value, frozenset(desk.speaks))

    def is_app(app_id: str) -> bool:
        consents = core.consents
        return (
            app_id in core.desks
            or app_id in consents.declared
            or app_id in consents.answers.apps
            or app_id in core.gateway.apps
        )

    return Gateway(
        core.places.state / FILE,
        Reception(core.intake, core.consents, core.waiters, takes_imports=False),
        GatewayReception(core.intake, core.waiters),
        limits,
        connections=core.settings.limits.connections,
        port=core.settings.gateway.port,
        notes=_Shown(core),
        standing_of=standing_of,
        is_app=is_app,
        wall_ms=core.means.wall_ms,
    )


def examined(gateway: Gateway) -> Check:
    """Return what `homing doctor` says: which port is open, and for whom."""
    apps = gateway.apps
    if gateway.listening:
        evidence = f"open on 127.0.0.1:{gateway.port} and [::1]:{gateway.port} for {_names(apps)}"
    elif apps:
        return Check(
            code=PortTaken.code,
            title="Gateway",
            verdict="error",
            evidence=gateway.why,
            repair=f"Find out who has the port: ss -ltnp 'sport = :{gateway.port}'",
        )
    else:
        evidence = "off: no app has a token"
    return Check(code="gateway", title="Gateway", verdict="ok", evidence=evidence)


def _names(apps: tuple[str, ...]) -> str:
    return ", ".join(apps[:MOST_NAMED]) + (", …" if len(apps) > MOST_NAMED else "")


def handlers(core: Core) -> Handlers:
    """Return who answers the requests of ``agent.door.gateway``."""

    apps = Apps(core)

    async def give(request: GiveToken) -> NewToken:
        new = request.new or request.app_id in core.gateway.apps
        apps.known(request.app_id, new=new)  # a typing error gets no token
        return await core.gateway.give(request)

    async def show(request: ListTokens) -> GatewayStatus:
        return await core.gateway.show(request)

    async def revoke(request: RevokeTokens) -> Revoked:
        return await core.gateway.revoke(request)

    return {GiveToken: give, ListTokens: show, RevokeTokens: revoke}
