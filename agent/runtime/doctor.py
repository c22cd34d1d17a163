"""`homing doctor` inside a running agent: each finding with its evidence and its repair.

Reads what the core already knows, and a few facts of the machine; changes nothing.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from agent.door import Check
from agent.rules.sentence import key_command
from agent.runtime.core import Core
from agent.runtime.loopback.gateway_door import examined
from agent.runtime.off_loop import off_loop

LOW_DISK_BYTES = 100 * 1024 * 1024
STALE_ACK_MS = 10 * 60 * 1000


async def examine(core: Core) -> tuple[Check, ...]:
    """Return all findings, worst first."""
    disk = await off_loop(partial(shutil.disk_usage, core.places.data), name="disk")
    found = [
        *_settings(core),
        *_socket(core),
        examined(core.gateway),
        *_outbox(core),
        *_disk(disk.free),
        *_identity(core),
        *_links(core),
        _hosts(core),
        *_notices(core),
    ]
    order = {"error": 0, "warning": 1, "ok": 2}
    return tuple(sorted(found, key=lambda check: order[check.verdict]))


def _settings(core: Core) -> Iterator[Check]:
    file = core.places.settings_file
    if not core.settings.apps and core.housing.keeper is None:
        yield Check(
            code="settings.no_apps",
            title="No app may report yet",
            verdict="warning",
            evidence=f"{file} declares no [[apps]], and no far end is kept here",
            repair="Run `homing keep-here`, or declare an app in homing.toml.",
        )
        return
    count = len(core.settings.apps)
    yield Check(
        code="settings",
        title="Settings",
        verdict="ok",
        evidence=f"{file}: {count} declared app{'' if count == 1 else 's'}",
    )


def _socket(core: Core) -> Iterator[Check]:
    if core.settings.ipc.transport == "loopback":
        yield Check(
            code="socket", title="Local API", verdict="ok", evidence=f"{core.board.address}, token"
        )
        return
    path = Path(core.board.address)
    try:
        mode = stat.S_IMODE(path.lstat().st_mode)
        folder = stat.S_IMODE(path.parent.lstat().st_mode)
    except OSError as exc:
        yield Check(
            code="socket.gone",
            title="Local API",
            verdict="error",
            evidence=f"{path}: {exc.strerror}",
            repair="Somebody removed the socket: run `homing stop`, then `homing`.",
        )
        return
    private = mode & 0o077 == 0 and folder & 0o077 == 0
    yield Check(
        code="socket" if private else "socket.open",
        title="Local API",
        verdict="ok" if private else "error",
        evidence=f"{path} mode {mode:04o} in a folder of mode {folder:04o}",
        repair="" if private else f"Run: chmod 700 {path.parent} && chmod 600 {path}",
    )


def _outbox(core: Core) -> Iterator[Check]:
    bad = [
        f"{app_id}: {account.difference:+d}"
        for (app_id, _), account in core.outbox.accounts().items()
        if not account.balanced
    ]
    yield Check(
        code="ledger.unbalanced" if bad else "ledger",
        title="Ledger: accepted = delivered + pending + dead + lost",
        verdict="error" if bad else "ok",
        evidence=", ".join(bad) or "balanced for every app",
        repair="Please report this with the output of `homing doctor --json`." if bad else "",
    )


def _disk(free: int) -> Iterator[Check]:
    low = free < LOW_DISK_BYTES
    yield Check(
        code="disk.low" if low else "disk",
        title="Free disk",
        verdict="warning" if low else "ok",
        evidence=f"{free // 2**20:,} MiB free where the outbox lies",
        repair="Free some space; events are refused when the disk is full." if low else "",
    )


def _identity(core: Core) -> Iterator[Check]:
    facts = core.board.facts
    kept = facts.key_kept_in if facts is not None else ""
    if kept:
        plain = kept != "keyring"
        yield Check(
            code="secret.unencrypted" if plain else "secret",
            title="Device key",
            verdict="warning" if plain else "ok",
            evidence=f"kept in: {kept}",
            repair="Start a keyring (Secret Service) for your login." if plain else "",
        )


def _links(core: Core) -> Iterator[Check]:
    now_ms = core.means.wall_ms()
    for delivery in core.departures.ways.values():
        link = delivery.status(now_ms, core.means.mono_s())
        several = len(core.departures.of(link.app_id)) > 1
        title = f"Far end of {link.app_id}" + (f": {link.upstream}" if several else "")
        if link.state == "idle" and not link.code and core.board.pause is None:
            since = "since the agent started" if link.last_ack_ms is None else "just now"
            evidence = f"{link.endpoint}: nothing to send {since}"
            yield Check(code="link", title=title, verdict="ok", evidence=evidence)
        elif link.state == "live":
            latency = (
                "" if link.latency_ms is None else f", last round trip {link.latency_ms:.0f} ms"
            )
            yield Check(
                code="link", title=title, verdict="ok", evidence=f"{link.endpoint}: live{latency}"
            )
        else:
            yield Check(
                code=link.code or "link",
                title=title,
                verdict="error" if link.state == "parked" else "warning",
                evidence=f"{link.endpoint}: {link.state}. {link.reason}".strip(),
                repair=f"Run `{key_command(link)}`."
                if link.code == "secret.key"
                else "Run `homing doctor network` for the hop that fails, then `homing retry`.",
            )


def _hosts(core: Core) -> Check:
    """Say whom the agent may contact; nothing else is even looked up."""
    hosts = dict.fromkeys(one.host for one in core.network.hosts().hosts)
    return Check(
        code="network.hosts",
        title="Hosts that may be contacted",
        verdict="ok",
        evidence=", ".join(hosts) or "none but this computer",
    )


def _notices(core: Core) -> Iterator[Check]:
    for notice in core.board.notices.values():
        if notice.severity != "info":
            yield Check(
                code=notice.code,
                title="Notice",
                verdict="error" if notice.severity == "error" else "warning",
                evidence=notice.text,
            )
