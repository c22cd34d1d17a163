"""Is there a display to draw on? Asked before Qt is, because Qt aborts the process if not."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

#: Qt platforms that draw without a display server.
SELF_SUFFICIENT = {"offscreen", "minimal", "minimalegl", "vnc", "linuxfb", "eglfs"}


def display_answers(env: Mapping[str, str] = os.environ) -> bool:
    """Return whether Qt will find a display.

    A variable that names a dead display is as good as none: a cron job or an ssh session with a
    stale ``DISPLAY`` gets the terminal view instead of a core dump.
    """
    if env.get("QT_QPA_PLATFORM", "").partition(":")[0] in SELF_SUFFICIENT:
        return True
    if sys.platform in {"win32", "darwin"}:
        return True
    return _wayland_answers(env) or _x11_answers(env)


def _wayland_answers(env: Mapping[str, str]) -> bool:
    name = env.get("WAYLAND_DISPLAY")
    if not name or env.get("QT_QPA_PLATFORM", "").startswith("xcb"):
        return False
    path = Path(env.get("XDG_RUNTIME_DIR", "/nonexistent")) / name  # an absolute name replaces it
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _x11_answers(env: Mapping[str, str]) -> bool:
    name = env.get("DISPLAY")
    if not name:
        return False
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return False  # Qt's xcb plugin cannot load either
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = xcb.xcb_connect(name.encode(), None)  # also proves that the server lets us in
    try:
        return bool(xcb.xcb_connection_has_error(connection) == 0)
    finally:
        xcb.xcb_disconnect(connection)
