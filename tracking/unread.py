"""How much a peer has yet to take of what was sent to it.

Our own buffer alone does not tell: the kernel takes from it in lumps of a megabyte, so that a slow
line looks like a dead one for a while. What the kernel still holds is asked for where it tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys


def unread_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that were written and not yet acknowledged by the peer's system.

    Source: tcp(7) and unix(7), SIOCOUTQ.
    """
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sys.platform != "win32" and sock is not None:
        import fcntl
        import termios

        with contextlib.suppress(OSError):  # gone, or a kind of socket that does not tell
            raw = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
            waiting += int(struct.unpack("i", raw)[0])
    return waiting
