"""What a core is furnished with before it opens anything, out of settings, places and means."""

from __future__ import annotations

import os
from pathlib import Path

from agent.adapters.machine.places import Places
from agent.adapters.machine.secrets import Secrets
from agent.runtime.means import Means
from agent.runtime.report import Board
from agent.settings import Settings


def secrets_of(settings: Settings, places: Places, means: Means) -> Secrets:
    """Return who keeps the keys; nothing is asked of a keyring yet."""
    identity = settings.identity
    organisation = identity.organisation_key
    return Secrets(
        key_file=Path(identity.key_file) if identity.key_file else places.device_key,
        organisation_key=Path(organisation) if organisation else None,
        service=places.keyring_service,
        env=means.environment,
    )


def board_of(
    settings: Settings, places: Places, means: Means, *, version: str, address: str
) -> Board:
    """Return the board on which the facts of the whole agent stand."""
    return Board(
        version=version,
        pid=os.getpid(),
        started_ms=means.wall_ms(),
        address=address,
        settings_file=str(places.settings_file),
        max_events=settings.outbox.max_events,
        max_bytes=settings.outbox.max_mib * 1024 * 1024,
        zone=means.zone,
    )
