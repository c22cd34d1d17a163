"""Keys of upstreams at the door: kept beside the loop, because a keyring may wait for a person."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agent.door.upstream_keys import ForgetUpstreamKey, KeepUpstreamKey, KeyKept
from agent.rules.endpoints import parse_address
from agent.rules.notices import Start
from agent.runtime.off_loop import off_loop
from agent.runtime.ways.posting import KEY, Posting
from tracking.errors import RequestFault

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core


def handlers(core: Core) -> Handlers:
    """Return who answers the requests of ``agent.door.upstream_keys``."""
    secrets = core.secrets

    async def keep(asked: KeepUpstreamKey) -> KeyKept:
        if not KEY.fullmatch(asked.key):
            raise RequestFault("a key is one line of text without spaces", field="key")
        way = _way(core, asked.app_id, asked.name)
        if way.way.key_file:
            raise RequestFault(
                f"the key of {asked.name} is in the file that key_file names",
                field="name",
                advice="Change that file, or take key_file out of homing.toml.",
            )
        core.wire.masks.add(asked.key)
        save = partial(secrets.keep_token, way.endpoint, asked.app_id, asked.key, what="bucket")
        kept = await off_loop(save, name="upstream key")
        way.renew()
        if not core.departures.halted:
            core.departures.tell((asked.app_id, way.way.name), Start())
        return _told(way, asked.name, kept.where, kept.notice)

    async def forget(asked: ForgetUpstreamKey) -> KeyKept:
        way = _way(core, asked.app_id, asked.name)
        drop = partial(secrets.forget_token, way.endpoint, asked.app_id, what="bucket")
        gone = await off_loop(drop, name="upstream key")
        way.renew()
        notice = "" if gone else f"there was no key for {asked.name}"
        if way.way.key_file:
            notice = f"the key of {asked.name} is in the file that key_file names, which stays"
        return _told(way, asked.name, "", notice)

    return {KeepUpstreamKey: keep, ForgetUpstreamKey: forget}


def _way(core: Core, app_id: str, name: str) -> Posting:
    """Return the way out that needs the key.

    Raises:
        RequestFault: The app has no such upstream, or it needs none.

    """
    if app_id not in core.desks:
        raise RequestFault(f"there is no app {app_id!r}", field="app_id", status=404)
    ways = [one for one in core.departures.of(app_id) if one.way.upstream == name]
    if not ways:
        raise RequestFault(f"{app_id} has no upstream {name!r}", field="name", status=404)
    for one in ways:
        if isinstance(one, Posting):
            return one
    raise RequestFault(f"the upstream {name} speaks Nucleus, which needs no key", field="name")


def _told(way: Posting, name: str, where: str, notice: str) -> KeyKept:
    address = parse_address(way.endpoint, ("https", "http"))
    return KeyKept(
        app_id=way.desk.app_id,
        upstream=name,
        origin=f"{address.scheme}://{address.authority}",
        kept_in=where,
        notice=notice,
    )
