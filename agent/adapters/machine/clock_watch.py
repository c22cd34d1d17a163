"""Linux says when the wall clock jumps; after a sleep it always does.

A timer on CLOCK_REALTIME that never expires, made to be *cancelled when the clock is set*
(timerfd_create(2), TFD_TIMER_CANCEL_ON_SET): its descriptor becomes readable when somebody sets
the clock and when the machine resumes, and at no other time. So an idle agent is not woken, and
one whose machine slept knows it at once. Whether it was a sleep is not decided here
(``agent.rules.cadence``).

Python has this timer from 3.13 on (``os.timerfd_create``); until then it is called by ctypes.
Elsewhere, or where the kernel refuses, there is none, and nothing is lost but time: the turn of
each heartbeat compares the clocks as well, so a sleep is noticed within a minute of waking.

All on the core's thread, for the loop's readers belong to it.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import sys
import time
from collections.abc import Callable

from agent.adapters.machine.kernel_watch import KernelWatch

log = logging.getLogger("agent.clock")

TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2  # linux/timerfd.h
NEVER_S = (1 << (8 * ctypes.sizeof(ctypes.c_long) - 1)) - 1  #: The largest time_t.
COUNT_BYTES = 8

Read = Callable[[int, int], bytes]


class _Spec(ctypes.Structure):
    """``struct itimerspec``: how often again (never), and when first."""

    _fields_ = (
        ("again_s", ctypes.c_long),
        ("again_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


def open_timer() -> int | None:
    """Return a descriptor that reads ECANCELED after a jump of the wall clock, None if none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = int(libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC))
    except (OSError, AttributeError):  # a C library without it
        return None
    if fd < 0:
        return None
    spec = _Spec(0, 0, NEVER_S, 0)
    flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
    if libc.timerfd_settime(fd, flags, ctypes.byref(spec), None) != 0:
        os.close(fd)
        return None
    return fd


class ClockWatch(KernelWatch):
    """Calls back when the wall clock jumped.

    Args:
        loop: The core's; :meth:`close` before it ends.
        jumped: Called on it; the kernel goes on watching by itself.
        fd: Of :func:`open_timer`; None: nothing is watched.
        read: Reads it; replaced in tests, for a test cannot set the clock.

    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        jumped: Callable[[], None],
        fd: int | None,
        *,
        read: Read = os.read,
    ) -> None:
        self._jumped = jumped
        self._read = read
        super().__init__(loop, fd)

    def _read_from(self, fd: int) -> None:
        try:
            self._read(fd, COUNT_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno == errno.ECANCELED:
                self._jumped()
                return
            log.warning("cannot watch the clock, heartbeats will errno=%s", exc.errno)
        # it failed, or expired at the end of time: a reader that stays ready would spin
        self.close()
