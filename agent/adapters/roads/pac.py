"""Proxy scripts (PAC): fetched, and run far from us.

A script is foreign code that a network hands out. It runs in a process of its own
(:mod:`agent.adapters.roads.pac_engine`) with nothing in its environment and bounds on time and
memory, and sees the far end's host and port, never a path. Of names it may look up that host only:
every other look-up is answered with nothing, or a script could make the agent ask for names that
nobody allowed (``agent.rules.contacts``).

Whatever goes wrong is a :class:`~tracking.errors.PacFault`. Browsers go past a script that fails,
straight out; here that is for a person to say (``network.proxy = "none"``).
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agent.adapters.roads.connecting import Resolve, connect, look_up, places_of
from agent.adapters.roads.patience import Abandoned, Patience, as_fault, receive, send_all
from agent.adapters.roads.plain_get import get_page
from agent.adapters.roads.tls import client_context
from agent.rules.endpoints import Address
from tracking.errors import Fault, NoName, PacFault, Unreachable

MOST_BYTES = 1024 * 1024  #: Of a script.
FETCH_S = 5.0
RUN_S = 5.0  #: For one run, the process's start included.
KEEP_S = 3600.0  #: A script is fetched again after so long.
ROUNDS = 3  #: Of asking and looking up: it may want the host's address, and ours.
COMMAND = (sys.executable, "-E", "-P", "-m", "agent.adapters.roads.pac_engine")
ADVICE = "Check network.pac, or the system's proxy settings; `homing doctor network` tells more."


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says of one run: one of the three."""

    answer: str | None = None  #: What ``FindProxyForURL`` returned.
    needs: str | None = None  #: It wants this name's address first; ``""``: our own.
    fault: str | None = None  #: What went wrong in it.


class Script:
    """Fetches scripts and runs them. Any thread may ask.

    Args:
        command: Starts the engine.

    """

    def __init__(self, command: tuple[str, ...] = COMMAND) -> None:
        self._command = command
        self._texts: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    @staticmethod
    def host_of(place: str) -> tuple[str, int] | None:
        """Return host and port of a script's address, None for a file."""
        if place.startswith("/"):
            return None
        parts = urlsplit(place)
        default = 443 if parts.scheme == "https" else 80
        return (parts.hostname, parts.port or default) if parts.hostname else None

    def forget(self) -> None:
        """Fetch anew next time."""
        with self._lock:
            self._texts.clear()

    def ask(
        self,
        place: str,
        address: Address,
        patience: Patience,
        require: Callable[[str], None],
        resolve: Resolve = look_up,
    ) -> str:
        """Return what the script at ``place`` answers for ``address``.

        Args:
            place: Address or absolute path of the script.
            address: The far end.
            patience: Ours, for all of it.
            require: Passes for hosts that may be contacted.
            resolve: Name to places.

        Raises:
            PacFault: It cannot be had, or does not work.
            NotListed: Its host is not allowed.
            Abandoned: Nobody wants it any more.

        """
        text = self.text(place, patience, require, resolve)
        known: dict[str, str] = {}
        for _ in range(ROUNDS):
            verdict = self._run(text, address, known, patience)
            if verdict.answer is not None:
                return verdict.answer
            if verdict.fault is not None:
                raise PacFault(f"the PAC script failed: {verdict.fault[:200]}", advice=ADVICE)
            known[verdict.needs or ""] = self._address_of(
                verdict.needs, address, patience, require, resolve
            )
        raise PacFault("the PAC script asks for addresses without end", advice=ADVICE)

    def text(
        self,
        place: str,
        patience: Patience,
        require: Callable[[str], None],
        resolve: Resolve = look_up,
    ) -> str:
        """Return a script, fetched or remembered; raises as :meth:`ask`."""
        with self._lock:
            at, text = self._texts.get(place, (0.0, ""))
        if text and time.monotonic() - at < KEEP_S:
            return text
        try:
            raw = self._fetch(place, patience, require, resolve)
        except PacFault:
            raise
        except (Unreachable, OSError) as exc:
            raise PacFault(f"the PAC script cannot be had: {exc}", advice=ADVICE) from exc
        text = raw.decode("utf-8", "replace")
        if "FindProxyForURL" not in text:
            raise PacFault(f"what {place[:200]} gives is no PAC script", advice=ADVICE)
        with self._lock:
            self._texts[place] = time.monotonic(), text
        return text

    def _fetch(
        self, place: str, patience: Patience, require: Callable[[str], None], resolve: Resolve
    ) -> bytes:
        if (at := self.host_of(place)) is None:
            path = Path(place)
            if path.stat().st_size > MOST_BYTES:
                raise PacFault(f"the PAC script {place[:200]} is too large", advice=ADVICE)
            return path.read_bytes()
        require(at[0])
        mine = Patience(
            min(FETCH_S, patience.until - time.monotonic()),
            patience.wake,
            patience.given_up,
            patience.note,
        )
        sock = connect(*at, mine, resolve)
        parts = urlsplit(place)
        if parts.scheme == "https":
            sock = _secured(sock, at[0], mine)
        page = get_page(
            sock, parts.netloc, parts.path or "/", mine, kind="script", most_bytes=MOST_BYTES
        )
        if page.status != 200 or not page.whole:
            raise PacFault(f"{place[:200]} answered {page.status}, no PAC script", advice=ADVICE)
        return page.body

    def _address_of(
        self,
        name: str | None,
        address: Address,
        patience: Patience,
        require: Callable[[str], None],
        resolve: Resolve,
    ) -> str:
        """Return the address that a script may know, nothing for any other name."""
        if not name:
            return _own_address()
        if name.lower() != address.host:
            return ""
        require(name)
        try:
            places = places_of(address.host, address.port, patience, resolve)
        except NoName:
            return ""
        return next((at[0] for family, at in places if family == socket.AF_INET), "")

    def _run(
        self, text: str, address: Address, known: dict[str, str], patience: Patience
    ) -> Verdict:
        """Run the script once, in a process that cannot do much else."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ask = msgspec.json.encode(
            {
                "script": text,
                "url": f"https://{address.authority}/",
                "host": address.host,
                "known": known,
            }
        )
        mine = Patience(
            min(RUN_S, patience.until - time.monotonic()), patience.wake, patience.given_up
        )
        mine.doing = "the PAC script"
        child: subprocess.Popen[bytes] | None = None
        try:
            with theirs:
                child = subprocess.Popen(
                    self._command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env={},
                    close_fds=True,
                )
            send_all(ours, ask, mine)
            ours.shutdown(socket.SHUT_WR)
            said = b""
            while more := receive(ours, 65536, mine):
                said += more
                if len(said) > MOST_BYTES:
                    break
            return msgspec.json.decode(said, type=Verdict)
        except msgspec.MsgspecError as exc:
            raise PacFault(
                "the PAC script was ended: it took more time or memory than a script may",
                advice=ADVICE,
            ) from exc
        except (Unreachable, OSError) as exc:
            raise PacFault(f"the PAC script was ended: {exc}", advice=ADVICE) from exc
        finally:
            ours.close()
            if child is not None:
                child.kill()
                child.wait()


def _secured(sock: socket.socket, host: str, patience: Patience) -> socket.socket:
    """Speak TLS on a connected socket."""
    secured: ssl.SSLSocket = client_context().wrap_socket(
        sock, server_hostname=host, do_handshake_on_connect=False
    )
    try:
        shake_hands(secured, patience)
    except OSError as exc:
        secured.close()
        raise as_fault(exc, host) from exc
    except (Fault, Abandoned):
        secured.close()
        raise
    return secured


def shake_hands(sock: ssl.SSLSocket, patience: Patience) -> None:
    """Finish the TLS handshake under one deadline."""
    while True:
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            patience.wait(sock)
        except ssl.SSLWantWriteError:
            patience.wait(sock, write=True)


def _own_address() -> str:
    """Return the address from which we would leave; no packet is sent for that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # RFC 5737: nobody's
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.1"
