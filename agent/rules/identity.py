"""Who this machine is to one app's far end: ``deviceId`` v1.

The seed asks for a hashed identifier of the machine, "ie mac address". A bare hash of a MAC is
undone by trying them all, and would be the same in every app. So::

    K_app    = HMAC-SHA256(K, "deviceId/v1\\0" + appId)
    deviceId = base32lower(HMAC-SHA256(K_app, MAC)[:15])          24 characters, 120 bits

K is 32 random bytes that never leave the machine (SECURITY.md, "The device id"). The result is
made once per app and kept, so a dock, a VPN or a private Wi-Fi address never changes it.

Pure: addresses, keys and random bytes come in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tracking.errors import Bug

KEY_BYTES = 32
MAC_BYTES = 6
ID_BYTES = 15  #: 120 bits are 24 base32 characters, without padding.

GROUP_BIT = 0x01  #: IEEE 802: a multicast address, never a card's own.
LOCAL_BIT = 0x02  #: IEEE 802: administered locally (a hypervisor, a privacy feature), not unique.

#: First three bytes that hypervisors give to their virtual cards.
VIRTUAL_OUIS = frozenset(
    bytes.fromhex(oui)
    for oui in (
        "00155d",  # Hyper-V
        "005056",  # VMware
        "000c29",  # VMware
        "000569",  # VMware
        "001c14",  # VMware
        "080027",  # VirtualBox
        "0a0027",  # VirtualBox, host only
        "001c42",  # Parallels
        "00163e",  # Xen
        "0242ac",  # Docker
    )
)

#: Names that systems give to bridges, tunnels and other cards that are not hardware.
VIRTUAL_NAME = re.compile(
    r"(lo\d*$|docker|br-|virbr|veth|vmnet|vboxnet|tun|tap|wg|zt|tailscale|utun|awdl|llw|ap\d|anpi"
    r"|bridge|gif|stf|ifb|dummy|bond|team|vlan|macv|ipv|cni|flannel|cali|podman|lxc|lxd|ppp|wwan"
    r"|bnep|p2p-|p2p0|nordlynx|proton|cloudflarewarp)"
    r"|.*(vEthernet|Hyper-V|VirtualBox|VMware|Loopback|Bluetooth|TAP-|WireGuard|OpenVPN"
    r"|Wi-Fi Direct|Local Area Connection\*|Npcap|WAN Miniport|Teredo|isatap)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One network card that might stand for the machine.

    Attributes:
        name: What the system calls it: ``eth0``.
        mac: Its permanent address where the system tells it, else its present one. Kept out of
            ``repr``, so that it cannot reach a log by accident.
        physical: The system knows a device behind it.
        usb: It hangs on USB: a dock, a dongle, somebody else's tomorrow.
        wifi: It is wireless.

    """

    name: str
    mac: bytes = field(repr=False)
    physical: bool
    usb: bool = False
    wifi: bool = False


def choose_mac(candidates: Iterable[Candidate]) -> bytes | None:
    """Return the address that stands for the machine, or None if no card deserves it.

    Dropped are empty and multicast addresses, cards without hardware, and what virtual machines
    and VPNs bring along. Of the rest: unique addresses before locally administered ones,
    built in before USB, wired before wireless, then the smallest. Whether a link is up plays no
    part, so unplugging a cable cannot change the choice.
    """
    fit = [card for card in candidates if _fit(card)]
    if not fit:
        return None
    return min(fit, key=lambda c: (bool(c.mac[0] & LOCAL_BIT), c.usb, c.wifi, c.mac)).mac


def _fit(card: Candidate) -> bool:
    return (
        len(card.mac) == MAC_BYTES
        and any(card.mac)
        and not card.mac[0] & GROUP_BIT  # broadcast has this bit as well
        and card.physical
        and card.mac[:3] not in VIRTUAL_OUIS
        and VIRTUAL_NAME.match(card.name) is None
    )


def device_id(key: bytes, app_id: str, mac: bytes) -> str:
    """Return the ``deviceId`` of this machine for one app: 24 lower-case characters.

    Args:
        key: K, 32 bytes.
        app_id: As in the settings; two apps get ids that cannot be linked.
        mac: What :func:`choose_mac` returned, or 6 random bytes if it returned None.

    """
    if len(key) != KEY_BYTES or len(mac) != MAC_BYTES:
        raise Bug(f"deviceId wants {KEY_BYTES} and {MAC_BYTES} bytes, got {len(key)}, {len(mac)}")
    app_key = hmac.digest(key, b"deviceId/v1\0" + app_id.encode(), hashlib.sha256)
    return _readable(hmac.digest(app_key, mac, hashlib.sha256)[:ID_BYTES])


def passing_device_id(chance: bytes) -> str:
    """Return a ``deviceId`` that says nothing, for ``identity.device_id = "session"``.

    Args:
        chance: 15 random bytes, new for each session.

    """
    if len(chance) != ID_BYTES:
        raise Bug(f"a passing deviceId wants {ID_BYTES} bytes, got {len(chance)}")
    return _readable(chance)


def _readable(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").lower()


ANON_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)  #: The seed's is a nanoid of 12.


def is_proposal(anon_id: str, ours: str, sent: Iterable[bytes]) -> bool:
    """Tell whether an ``anonId`` in a far end's answer is one that it wants us to use.

    Far ends also repeat the one that the events of a frame had (NUCLEUS.md §3, golden reply), and
    an app may have events with an anonymous id of its own: an echo is no wish.

    Args:
        anon_id: As it came.
        ours: What the app goes by now.
        sent: What was sent and is not acknowledged yet.

    """
    if anon_id == ours or not ANON_ID.fullmatch(anon_id):
        return False
    echo = f'"anonId":"{anon_id}"'.encode()
    return not any(echo in body for body in sent)
