"""What the machine says of its battery: one look at psutil, never a timer of its own."""

from __future__ import annotations

import logging

log = logging.getLogger("agent.battery")


def battery() -> tuple[bool | None, float | None]:
    """Return whether the mains is plugged in, and the charge in per cent; None if unknown.

    A machine without a battery, or one that does not say, is (None, None).
    """
    import psutil

    try:
        found = psutil.sensors_battery()
    except (AttributeError, OSError, ValueError, RuntimeError) as exc:  # each system's own way
        log.debug("no battery can be read reason=%s", type(exc).__name__)
        return None, None
    if found is None:
        return None, None
    return found.power_plugged, float(found.percent)
