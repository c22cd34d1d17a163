"""Slow truths about this computer, as the ``init`` event tells them (seed 000).

psutil is loaded when it is asked for something, and the network cards are looked at only by
:func:`mac_candidates`, which nobody calls before an app has consent (threat row 47). An address
is used once to make a device id; it is never logged and never stored.

The parts that decide take what the system said as arguments, so that every system's answers are
tested on one. The questions to macOS and Windows themselves are not: no test runs there.
"""

from __future__ import annotations

import array
import contextlib
import os
import platform
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from agent.rules.identity import MAC_BYTES, VIRTUAL_NAME, Candidate
from agent.rules.machine_names import MachineNames
from agent.rules.stamp import MachineFacts

GIB = 2**30
SYS_NET = Path("/sys/class/net")
USER_VARIABLES = ("USER", "LOGNAME", "USERNAME")
ASK_S = 2.0  #: How long a system's own command may take.

#: gettext's order, as Qt reads it too. ``LANGUAGE`` is a list, the others one locale.
LANGUAGE_VARIABLES = ("LC_ALL", "LANGUAGE", "LC_MESSAGES", "LANG")
DEFAULT_LANGUAGE = "en"

_LOCALE = re.compile(
    r"(?P<language>[A-Za-z]{2,3})(?:[_-](?P<script>[A-Za-z]{4}))?"
    r"(?:[_-](?P<region>[A-Za-z]{2}|\d{3}))?(?:\.[\w-]+)?(?:@(?P<modifier>\w+))?"
)

#: glibc's modifiers that say something BCP 47 can say; ``@euro`` is about money and falls away.
_MODIFIERS = {
    "latin": ("script", "Latn"),
    "cyrillic": ("script", "Cyrl"),
    "devanagari": ("script", "Deva"),
    "valencia": ("variant", "valencia"),
}

#: Node's words for processors, which the official clients send.
_ARCHITECTURES = {
    "x86_64": "x64",
    "amd64": "x64",
    "aarch64": "arm64",
    "i386": "ia32",
    "i486": "ia32",
    "i586": "ia32",
    "i686": "ia32",
    "x86": "ia32",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
}


def facts(env: Mapping[str, str] | None = None) -> MachineFacts:
    """Return what an ``init`` tells of this machine. No name of a host, a person or a card."""
    import psutil

    return MachineFacts(
        platform=platform_word(sys.platform),
        os_version=_os_version(),
        total_ram=whole_gib(psutil.virtual_memory().total),
        language=_language(os.environ if env is None else env),
        arch=architecture(platform.machine()),
    )


def platform_word(system: str) -> str:
    """Return ``linux``, ``darwin`` or ``win32`` (NUCLEUS.md A17, strict spelling)."""
    return "win32" if system in {"win32", "cygwin", "msys"} else system


def architecture(machine: str) -> str:
    """Return the processor in Node's words, as the official clients tell it: ``x64``, ``arm64``."""
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


def whole_gib(total_bytes: int) -> int:
    """Return memory as a whole number of GiB, at least 1.

    The system sees a little less than the modules hold (23.54 of 24 GiB), so the nearest whole
    number is also the one on the box (NUCLEUS.md A12).
    """
    return max(1, (total_bytes + GIB // 2) // GIB)


def linux_version(release: Mapping[str, str], kernel: str) -> str:
    """Return the version of a Linux distribution.

    Args:
        release: What os-release(5) says. Rolling distributions have no ``VERSION_ID``.
        kernel: Release of the kernel, used only if nothing else is known.

    """
    for key in ("VERSION_ID", "BUILD_ID", "VERSION_CODENAME"):
        if said := release.get(key, "").strip():
            return said
    return kernel or "unknown"


def _os_version() -> str:
    if sys.platform == "darwin":
        return platform.mac_ver()[0] or platform.release()
    if sys.platform == "win32":
        return platform.version() or platform.release()
    release: Mapping[str, str] = {}
    with contextlib.suppress(OSError):  # containers without the file
        release = platform.freedesktop_os_release()
    return linux_version(release, platform.release())


def language_of(env: Mapping[str, str]) -> str | None:
    """Return the language that the environment names, as BCP 47, or None if it names none.

    ``C`` and ``POSIX`` count as English: the seed requires a language in every ``init``, and
    English is what programs speak under them. Python's own ``locale`` module is not asked: it
    says ``en_US`` for a locale that is not installed.
    """
    said = ":".join(env.get(variable, "") for variable in LANGUAGE_VARIABLES)
    return next(filter(None, map(bcp47, said.split(":"))), None)


def bcp47(locale: str) -> str | None:
    """Return ``sr_RS.UTF-8@latin`` as ``sr-Latn-RS``; None if it is not a locale."""
    if re.fullmatch(r"(C|POSIX)(\.[\w-]+)?", locale):
        return DEFAULT_LANGUAGE
    said = _LOCALE.fullmatch(locale)
    if said is None:
        return None
    kind, word = _MODIFIERS.get((said["modifier"] or "").lower(), ("", ""))
    script = said["script"].title() if said["script"] else word if kind == "script" else ""
    region = said["region"].upper() if said["region"] else ""
    variant = word if kind == "variant" else ""
    return "-".join(part for part in (said["language"].lower(), script, region, variant) if part)


def first_apple_language(printed: str) -> str | None:
    """Return the first language of what ``defaults read -g AppleLanguages`` prints."""
    said = re.search(r'"?([A-Za-z]{2,3}(?:-[A-Za-z0-9]+)*)"?\s*[,)\n]', printed)
    return bcp47(said[1]) if said else None


def _language(env: Mapping[str, str]) -> str:
    if sys.platform == "darwin":  # programs started from the Dock have none of the variables
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            asked = ["/usr/bin/defaults", "read", "-g", "AppleLanguages"]
            done = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_S, check=True)
            if tag := first_apple_language(done.stdout):
                return tag
    if sys.platform == "win32":
        import ctypes

        name = ctypes.create_unicode_buffer(85)  # LOCALE_NAME_MAX_LENGTH
        if ctypes.windll.kernel32.GetUserDefaultLocaleName(name, 85) and (tag := bcp47(name.value)):
            return tag
    return language_of(env) or DEFAULT_LANGUAGE


def mac_candidates(sys_net: Path = SYS_NET) -> list[Candidate]:
    """Look at every network card; :func:`agent.rules.identity.choose_mac` chooses among them.

    The permanent address is taken where the kernel tells it, because the present one may be a
    random one that the desktop chose for privacy.
    """
    import psutil

    found = []
    for name, addresses in psutil.net_if_addrs().items():
        texts = [a.address for a in addresses if a.family == psutil.AF_LINK]
        mac = next(filter(None, map(mac_bytes, texts)), None)
        if mac is not None:
            found.append(_candidate(name, mac, sys_net))
    return found


def mac_bytes(text: str) -> bytes | None:
    """Return the six bytes of an address written with colons, dashes or dots, or None."""
    digits = re.sub(r"[:.\-]", "", text)
    if not re.fullmatch(r"[0-9A-Fa-f]{12}", digits):
        return None
    return bytes.fromhex(digits)


def _candidate(name: str, mac: bytes, sys_net: Path) -> Candidate:
    if not sys.platform.startswith("linux"):
        return Candidate(
            name=name,
            mac=mac,
            physical=VIRTUAL_NAME.match(name) is None,
            wifi=re.search(r"wi-?fi|wlan|wireless|airport", name, re.IGNORECASE) is not None,
        )
    card = sys_net / name
    device = card / "device"
    return Candidate(
        name=name,
        mac=_permanent_address(name) or mac,
        physical=device.exists(),
        usb="/usb" in os.path.realpath(device) if device.exists() else False,
        wifi=(card / "phy80211").exists() or (card / "wireless").exists(),
    )


def _permanent_address(name: str) -> bytes | None:
    """Ask the kernel for the address that is burnt into the card.

    Source:
        ethtool(8); linux/ethtool.h: ``ETHTOOL_GPERMADDR`` (0x20) through ``SIOCETHTOOL`` (0x8946).

    """
    import fcntl

    answer = array.array("B", struct.pack("II", 0x20, 32) + bytes(32))
    request = struct.pack("16sP", os.fsencode(name)[:15], answer.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, 0x8946, request)
    except OSError:
        return None
    (size,) = struct.unpack_from("I", answer, 4)
    mac = answer.tobytes()[8 : 8 + MAC_BYTES]
    return mac if size == MAC_BYTES and any(mac) and mac != b"\xff" * MAC_BYTES else None


def machine_names(environment: Mapping[str, str]) -> MachineNames:
    """Return what names this computer and its person, to be kept out of what leaves it.

    Args:
        environment: Where the account and the home folder may be named.

    """
    homes: list[str] = []
    for home in (environment.get("HOME", ""), environment.get("USERPROFILE", "")):
        if home:
            homes += [home, os.path.realpath(home)]
    user = next((name for key in USER_VARIABLES if (name := environment.get(key, ""))), "")
    if not user:
        user = Path(homes[0]).name if homes else ""
    host = socket.gethostname()
    return MachineNames(
        homes=tuple(dict.fromkeys(homes)),
        user=user,
        hosts=tuple(dict.fromkeys((host, host.partition(".")[0]))),
    )


def program_of(pid: int) -> str:
    """Return the path of a process's program; empty if we may not know it or it has ended."""
    import psutil

    try:
        return str(psutil.Process(pid).exe())
    except (psutil.Error, OSError):
        return ""
