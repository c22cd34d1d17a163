"""Whether NetworkManager calls the connection metered: one question on the system's D-Bus.

Asked on a thread that may be left behind (``agent.runtime.networks.network``), for a bus may be
slow or absent. Whatever goes wrong is "not known", and what is not known delays nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

log = logging.getLogger("agent.metered")

PATIENCE_S = 2.0
SOCKET = "dbus/system_bus_socket"
#: NMMetered (NetworkManager's D-Bus API): 1 yes, 3 guessed yes; 2 no, 4 guessed no; 0 unknown.
YES, NO = frozenset((1, 3)), frozenset((2, 4))


def metered() -> bool | None:
    """Return whether the primary connection is metered, None if nobody says. Blocks up to 2 s."""
    if not sys.platform.startswith("linux") or not _has_bus():
        return None
    try:
        from jeepney import DBusAddress, Properties
        from jeepney.io.blocking import open_dbus_connection
        from jeepney.wrappers import DBusErrorResponse, unwrap_msg
    except ImportError:
        return None
    network_manager = DBusAddress(
        "/org/freedesktop/NetworkManager",
        bus_name="org.freedesktop.NetworkManager",
        interface="org.freedesktop.NetworkManager",
    )
    try:
        with open_dbus_connection(bus="SYSTEM") as bus:
            ask = Properties(network_manager).get("Metered")
            ((_, value),) = unwrap_msg(bus.send_and_get_reply(ask, timeout=PATIENCE_S))
    except (OSError, EOFError, DBusErrorResponse, ValueError, KeyError, TypeError) as exc:
        log.debug("nobody says whether it is metered reason=%s", type(exc).__name__)
        return None
    return True if value in YES else False if value in NO else None


def _has_bus() -> bool:
    """Tell whether there may be a system bus; without one its library is not even loaded."""
    named = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")
    return bool(named) or any(Path(folder, SOCKET).exists() for folder in ("/run", "/var/run"))
