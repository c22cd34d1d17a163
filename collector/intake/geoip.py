"""The country of an address, from a file that the operator gives (MaxMind DB format).

The address is looked up and forgotten: what is stored is two letters. Without a file, and for an
address that the file does not know, countries stay empty. The file is read into memory, because
one that is replaced in place while it is mapped ends the process; when it changes it is read anew.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import struct
from pathlib import Path
from typing import Final

import maxminddb

from tracking.errors import SettingsFault

log = logging.getLogger("collector.intake.geoip")

#: What the library raises at files that were made or damaged so (measured, test_geoip.py).
_DAMAGED: Final = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
    struct.error,
    maxminddb.InvalidDatabaseError,
)
_ISO = re.compile(r"[A-Z]{2}\Z")


class Countries:
    """Knows countries.

    Args:
        path: An ``.mmdb`` file: GeoLite2 or GeoIP2 Country or City, DB-IP, IPinfo.

    Raises:
        SettingsFault: It cannot be read, or is no such file.

    """

    look_s = 10.0  #: Between two looks whether the file has changed.

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()
        self._known = self._mark()
        try:
            self._reader = self._open()
        except _DAMAGED as exc:
            raise SettingsFault(
                f"geoip_file: {path} cannot be read as a MaxMind database",
                advice="Name an .mmdb file, or leave geoip_file empty.",
            ) from exc

    def of(self, peer: str) -> str:
        """Return the ISO 3166 code of an address, empty if nobody knows."""
        try:
            found = self._reader.get(ipaddress.ip_address(peer.partition("%")[0]))
        except _DAMAGED:
            return ""  # no address, one of a kind that the file has not, or a damaged record
        if not isinstance(found, dict):
            return ""
        said = found.get("country", found.get("country_code"))
        if isinstance(said, dict):
            said = said.get("iso_code")
        return said if isinstance(said, str) and _ISO.match(said) else ""

    def refresh(self) -> bool:
        """Read the file anew if it has changed; return whether it was. Blocks.

        A file that cannot be read leaves everything as it was, and is said once.
        """
        mark = self._mark()
        if mark == self._known:
            return False
        self._known = mark
        try:
            self._reader = self._open()
        except _DAMAGED:
            log.warning("the GeoIP file cannot be read, the one before stays")
            return False
        log.info("the GeoIP file was read anew")
        return True

    def _open(self) -> maxminddb.Reader:
        return maxminddb.open_database(self.path, maxminddb.MODE_MEMORY)

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
