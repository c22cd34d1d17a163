"""Which pages a person may let in through the gateway (SECURITY.md, "The gateway in detail", 3).

A browser says in ``Origin`` where the page that asks comes from, and no page can lie about it.
An app's own pages have an origin that no web site has: a scheme of their own, or a file. A web
site's can never be registered, whatever a person types.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from agent.rules.wording import visible
from tracking.errors import RequestFault

NULL: Final = "null"  #: A sandboxed frame, ``data:``, and in Chromium a page from a file.
MOST_ORIGINS: Final = 32

_OWN_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]{0,31})://([a-z0-9._-]{0,253}(?::\d{1,5})?)")
_WEB: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^/:?#@\[\]]+)(:\d{1,5})?")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: The page of a Tauri app on Windows and Android: a name below .localhost, which no site has.
_TAURI: Final = frozenset({"http://tauri.localhost", "https://tauri.localhost"})
#: Never an app's own: the web's, and those that carry or run what somebody else wrote.
_FOREIGN: Final = frozenset(
    {"http", "https", "ws", "wss", "ftp", "data", "blob", "javascript", "about", "view-source"}
)
_SHAPE: Final = (
    "An origin is a scheme and a host without a path: tauri://localhost, file://, app://main, "
    "or null."
)


def check_origins(origins: Iterable[str]) -> tuple[str, ...]:
    """Return the origins, each once, in their order.

    Raises:
        RequestFault: One can never be registered, or there are more than :data:`MOST_ORIGINS`.

    """
    chosen = tuple(dict.fromkeys(origins))
    if len(chosen) > MOST_ORIGINS:
        raise RequestFault(f"at most {MOST_ORIGINS} origins, got {len(chosen)}", field="origins")
    for origin in chosen:
        _check(origin)
    return chosen


def is_development(origin: str) -> bool:
    """Tell whether an origin is a web server on this machine, and not an app's own page.

    Any program of any user that gets hold of the port serves pages of that origin.
    """
    found = _WEB.fullmatch(origin)
    return found is not None and found[1] in _LOOPBACK


def warnings(origins: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence for each origin that lets in more than one app's own pages."""
    told = []
    for origin in origins:
        if origin == NULL:
            told.append(
                "the origin null is that of every sandboxed frame of every web page; "
                "only the token keeps those out"
            )
        elif is_development(origin):
            told.append(
                f"the origin {origin} is whatever is served there; "
                "register it while you develop, not for people"
            )
    return tuple(told)


def _check(origin: str) -> None:
    shown = visible(origin, 100)
    if origin in _TAURI or origin == NULL or is_development(origin):
        if origin.startswith("http://") and origin.endswith(":80"):
            raise _impossible(shown, "browsers leave :80 out")
        if origin.startswith("https://") and origin.endswith(":443"):
            raise _impossible(shown, "browsers leave :443 out")
        return
    if _WEB.fullmatch(origin.lower()):
        raise RequestFault(
            f"the origin {shown} is a web site's, and no web site is let in",
            field="origins",
            advice="Only an app's own pages (tauri://localhost, file://, app://…) and, while you "
            "develop, http://localhost:PORT.",
        )
    found = _OWN_SCHEME.fullmatch(origin)
    if found is None:
        raise _impossible(shown, "it has another shape")
    scheme, host = found.groups()
    if scheme in _FOREIGN:
        raise _impossible(shown, f"{scheme}: is nobody's own")
    if not host and scheme != "file":
        raise _impossible(shown, "it names no host")
    if host and scheme == "file":
        raise _impossible(shown, "a file's origin is file:// alone")


def _impossible(shown: str, why: str) -> RequestFault:
    return RequestFault(
        f"no browser sends the origin {shown}: {why}", field="origins", advice=_SHAPE
    )
