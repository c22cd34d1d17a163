"""Who is here right now: devices with an open WebSocket that has delivered a valid frame.

Tied to the socket and not to heartbeats, because official clients are silent while idle
(NUCLEUS.md §6, live). A device that left is shown for ten more seconds, so a reconnect does not
flicker. In memory: presence is a state, and a restart ends every socket anyway. How long who was
there is kept beside it (:mod:`collector.intake.stays`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from collector.intake.stays import Who
from tracking.events import Event

GRACE_MS = 10_000
MOST_A_SOCKET = 1_000  #: Devices that one connection may speak for; the longest silent one goes.


@dataclass(slots=True)
class Device:
    """One device of one app, as its events told it last."""

    device_id: str
    user_id: str = ""
    anon_id: str = ""
    platform: str = ""
    os_version: str = ""
    last_seen_ms: int = 0
    sockets: set[int] = field(default_factory=set)
    left_ms: int = 0


class Attendance(Protocol):
    """Who wants to know how long who was there: :class:`collector.intake.stays.StayLog`."""

    def heard(self, who: Who) -> None: ...

    def opened(self, who: Who) -> None: ...

    def closed(self, who: Who) -> None: ...


class _Seat(NamedTuple):
    """One device on one socket.

    Attributes:
        who: Whose stay it is.
        said_ms: The date by which its session is known; what is older does not change it.

    """

    who: Who
    said_ms: int


class Presence:
    """Keeps who is here, per app.

    Args:
        now_ms: Unix milliseconds.
        platform_of: The spelling that answers use.
        stays: Is told who was there.

    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        platform_of: Callable[[str | None], str | None],
        stays: Attendance | None = None,
    ) -> None:
        self.now_ms = now_ms
        self.platform_of = platform_of
        self.stays = stays
        self._apps: dict[str, dict[str, Device]] = {}
        # In the order in which they spoke: a dictionary keeps it.
        self._devices_of: dict[int, dict[tuple[str, str], _Seat]] = {}
        self._departures: deque[tuple[int, str, str]] = deque()

    @property
    def attended(self) -> bool:
        """Whether a WebSocket is open, or was closed and its task has not said so yet."""
        return bool(self._devices_of)

    def joined(self, connection: int) -> None:
        """A WebSocket opened; it counts when it has delivered a valid frame."""
        self._devices_of[connection] = {}

    def seen(self, app_id: str, connection: int, device_id: str, events: Iterable[Event]) -> None:
        """A valid frame came over an open WebSocket."""
        mine = self._devices_of.get(connection)
        if mine is None:
            return
        now_ms = self.now_ms()
        devices = self._apps.setdefault(app_id, {})
        device = devices.get(device_id)
        if device is None:
            device = devices[device_id] = Device(device_id)
        device.sockets.add(connection)
        device.last_seen_ms = now_ms
        place = (app_id, device_id)
        seat = mine.pop(place, None)
        session_id, said_ms = ("", 0) if seat is None else (seat.who.session_id, seat.said_ms)
        for event in events:
            device.user_id = event.user_id or device.user_id
            device.anon_id = event.anon_id or device.anon_id
            if event.platform:
                device.platform = self.platform_of(event.platform) or device.platform
            device.os_version = event.os_version or device.os_version
            if event.session_id:
                # Queues bring old sessions after new ones (NUCLEUS.md §3, "Order").
                at_ms = now_ms if event.date_ms is None else min(event.date_ms, now_ms)
                if at_ms >= said_ms:
                    session_id, said_ms = event.session_id, at_ms
        before = None if seat is None else seat.who
        if before is None or (session_id, device.user_id) != before[2:]:
            who = Who(app_id, device_id, session_id, device.user_id)
            mine[place] = _Seat(who, said_ms)
            self._move(before, who)
        else:
            mine[place] = _Seat(before, said_ms)
        if len(mine) > MOST_A_SOCKET:
            longest_silent = next(iter(mine))
            self._depart(connection, mine.pop(longest_silent))

    def heard(self, app_id: str, device_id: str, event: Event) -> None:
        """A heartbeat came without a socket: nobody is live by it, and yet somebody was there."""
        if self.stays is not None:
            self.stays.heard(Who(app_id, device_id, event.session_id or "", event.user_id or ""))

    def device_on(self, connection: int) -> str:
        """Return the device that last spoke on a connection, for heartbeats that name none."""
        mine = self._devices_of.get(connection)
        return next(reversed(mine))[1] if mine else ""

    def left(self, connection: int) -> None:
        """A WebSocket closed."""
        for seat in self._devices_of.pop(connection, {}).values():
            self._depart(connection, seat)
        self._forget()

    def live(self, app_id: str) -> list[Device]:
        """Return the devices that are here, most recently seen first."""
        self._forget()
        devices = self._apps.get(app_id, {}).values()
        return sorted(devices, key=lambda d: (-d.last_seen_ms, d.device_id))

    def everyone(self) -> int:
        """Return how many devices are here, of all apps."""
        self._forget()
        return sum(map(len, self._apps.values()))

    def _move(self, before: Who | None, after: Who) -> None:
        """Let a stay end and another begin where the session or the user changed."""
        if self.stays is not None:
            if before is not None:
                self.stays.closed(before)
            self.stays.opened(after)

    def _depart(self, connection: int, seat: _Seat) -> None:
        app_id, device_id, _, _ = seat.who
        if self.stays is not None:
            self.stays.closed(seat.who)
        device = self._apps[app_id][device_id]
        device.sockets.discard(connection)
        device.last_seen_ms = device.left_ms = self.now_ms()
        self._departures.append((device.left_ms, app_id, device_id))

    def _forget(self) -> None:
        """Forget who left more than the grace ago and did not come back."""
        now_ms = self.now_ms()
        while self._departures and now_ms - self._departures[0][0] > GRACE_MS:
            _, app_id, device_id = self._departures.popleft()
            devices = self._apps.get(app_id, {})
            device = devices.get(device_id)
            if device and not device.sockets and now_ms - device.left_ms > GRACE_MS:
                del devices[device_id]
                if not devices:
                    del self._apps[app_id]
