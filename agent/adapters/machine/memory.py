"""One arena for malloc: the agent's threads mostly sleep, and need none of their own.

glibc gives every thread that allocates an arena of its own, and each keeps what it once used. With
links, workers and Qt that measured 39 instead of 29 MiB for the headless agent (PSS, 4 s after its
start, in one run). Two threads that allocate at once wait for each other a little; ours do not.
"""

from __future__ import annotations

import ctypes
import sys

M_ARENA_MAX = -8  #: malloc.h


def use_one_arena() -> bool:
    """Limit malloc to one arena, where malloc is glibc's; tell whether it was.

    To be called before the first thread starts.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1))
    except (OSError, AttributeError):  # another libc
        return False
