"""Who is live on any of several collectors that share an engine (:mod:`collector.sharing`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields

from collector.intake.presence import Attendance, Device, Presence

_OURS = frozenset({"sockets", "left_ms", "device_id"})  #: Fields that concern one process alone.


class SharedPresence(Presence):
    """Who is live, on whichever collector."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        platform_of: Callable[[str | None], str | None],
        stays: Attendance | None = None,
    ) -> None:
        super().__init__(now_ms, platform_of, stays)
        self.elsewhere: dict[tuple[str, str, str], Device] = {}  #: By collector, app and device.

    def live(self, app_id: str) -> list[Device]:
        """Return the devices that are here or elsewhere, most recently seen first."""
        found = {device.device_id: device for device in super().live(app_id)}
        for (_, app, device_id), device in self.elsewhere.items():
            if app == app_id:
                known = found.get(device_id)
                if known is None or known.last_seen_ms < device.last_seen_ms:
                    found[device_id] = device
        return sorted(found.values(), key=lambda d: (-d.last_seen_ms, d.device_id))

    def ours(self) -> dict[tuple[str, str], str]:
        """Return who is here, by app and device, each with its facts as JSON."""
        self._forget()
        return {
            (app_id, device_id): facts_of(device)
            for app_id, devices in self._apps.items()
            for device_id, device in devices.items()
        }


def facts_of(device: Device) -> str:
    """Return what others are told of a device, as JSON."""
    said = {f.name: getattr(device, f.name) for f in fields(device) if f.name not in _OURS}
    return json.dumps(said, ensure_ascii=False)


def device_of(device_id: str, facts: str) -> Device:
    """Return a device as another collector told it; of a newer one, what is known here."""
    said = json.loads(facts)
    known = {f.name for f in fields(Device)} - _OURS
    return Device(device_id, **{name: value for name, value in said.items() if name in known})
