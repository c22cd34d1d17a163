"""Asking a proxy to lay the rest of the road, and answering when it wants to know who asks.

The proxy is asked without a login first: the password is sent only to a proxy that wants one,
and hashed (Digest, RFC 7616) if it offers that; Basic (RFC 7617) sends it as good as plain. NTLM
and Negotiate are not spoken here. (The standard library's Digest reads ASCII and MD5 only.)

A refused login is never tried again by itself: three wrong passwords lock many a directory's
account, and with it the person out.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.adapters.roads.patience import Patience, read_head, send_all, status_of
from agent.rules.endpoints import Address
from agent.rules.proxies import Proxy
from tracking.errors import LoginWanted, ProxyFault, SignIn, Silent

CHALLENGE = re.compile(rb"(?im)^proxy-authenticate:[ \t]*([^\r\n]*)")
LOCATION = re.compile(rb"(?im)^location:[ \t]*https?://([^/\s:]+)")
HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
ADVICE = "Run `homing network proxy-login`."
WILL_NOT = frozenset((301, 302, 303, 307, 308, 511))  #: A portal that answers for the proxy.


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to a proxy."""

    user: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Login:
        """Read ``user:password``; a user's name holds no colon (RFC 7617 §2)."""
        user, _, password = text.partition(":")
        return cls(user, password)


def lay_through(
    proxy: Proxy,
    address: Address,
    patience: Patience,
    *,
    dial: Callable[[], socket.socket],
    login: Callable[[], Login | None],
    refused: Callable[[Login], None],
) -> socket.socket:
    """Return a socket on which ``address`` listens, laid through the proxy by CONNECT.

    Args:
        proxy: As named.
        address: Where the road leads.
        patience: Covers everything.
        dial: Connects to the proxy; called a second time to answer a challenge.
        login: Who we are to it, None for nobody; asked only if the proxy asks.
        refused: Hears of a login that the proxy refused.

    Raises:
        ProxyFault: It cannot, or does not speak HTTP.
        LoginWanted: It wants a login that we do not have, or refused ours.
        SignIn: Something answers in its place and wants a person.
        Abandoned: Nobody wants it any more.

    """
    host = f"[{address.host}]" if ":" in address.host else address.host
    target = f"{host}:{address.port}"
    sock, head, status = _ask(proxy, target, "", patience, dial)
    if status == 407:
        sock.close()
        known = login()
        answer = _answer(proxy, target, CHALLENGE.findall(head), known)
        sock, head, status = _ask(proxy, target, answer, patience, dial)
        if status in (401, 407):  # tinyproxy says 401 to a wrong password, 407 to none
            sock.close()
            if known is not None:
                refused(known)
            raise LoginWanted(f"the proxy {proxy.host} refused the login", advice=ADVICE)
    if 200 <= status < 300:
        return sock
    sock.close()
    if status in WILL_NOT:
        there = LOCATION.search(head)
        where = f" and sends to {there[1].decode('latin-1')[:100]}" if there else ""
        raise SignIn(
            f"the proxy {proxy.host} answered {status}{where}",
            advice="Sign in to the network: open any page in a browser.",
        )
    raise ProxyFault(
        f"the proxy {proxy.host} answered {status or 'nonsense'}",
        advice=f"Check the proxy; it was named by {proxy.source or 'the system'}.",
    )


def _ask(
    proxy: Proxy, target: str, answer: str, patience: Patience, dial: Callable[[], socket.socket]
) -> tuple[socket.socket, bytes, int]:
    """Connect and ask; the socket is the caller's."""
    sock = dial()
    patience.doing = f"asking the proxy {proxy.host}"
    ask = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if answer:
        ask += f"Proxy-Authorization: {answer}\r\n"
    try:
        said = f"{ask}\r\n".encode()
        patience.note("proxy", "sent", said)
        send_all(sock, said, patience)
        head, rest = read_head(sock, patience)
        patience.note("proxy", "received", head)
        status = status_of(head)
        if rest and 200 <= status < 300:
            raise ProxyFault(f"the proxy {proxy.host} talks when it should be silent")
    except Silent as exc:
        sock.close()
        raise ProxyFault(
            f"the proxy {proxy.host} does not answer", advice="Check the proxy, or try another."
        ) from exc
    except BaseException:
        sock.close()
        raise
    return sock, head, status


def _answer(proxy: Proxy, target: str, challenges: list[bytes], login: Login | None) -> str:
    """Return the Proxy-Authorization that answers the best of the challenges.

    Raises:
        LoginWanted: Nothing here can answer.

    """
    offers = {}
    for raw in challenges:
        scheme, _, rest = raw.decode("latin-1").strip().partition(" ")
        offers[scheme.lower()] = rest
    if not offers.keys() & {"basic", "digest"}:
        named = ", ".join(sorted(offers)) or "nothing"
        raise LoginWanted(
            f"the proxy {proxy.host} offers only {named[:60]}, which is not spoken here",
            advice="Ask for Basic or Digest, or put a proxy in between that speaks it (cntlm, px).",
        )
    if login is None:
        raise LoginWanted(f"the proxy {proxy.host} wants a name and a password", advice=ADVICE)
    if "digest" in offers:
        answer = digest(target, offers["digest"], login)
        if answer:
            return answer
        if "basic" not in offers:
            raise LoginWanted(f"the proxy {proxy.host} wants a Digest that is not spoken here")
    pair = f"{login.user}:{login.password}".encode()  # RFC 7617 §2.1: UTF-8
    return f"Basic {base64.b64encode(pair).decode()}"


def digest(
    target: str, challenge: str, login: Login, *, method: str = "CONNECT", cnonce: str | None = None
) -> str:
    """Return the answer to a Digest challenge, nothing if it is of a kind that is not known.

    Source: RFC 7616 §3.4; MD5 because most proxies still offer nothing better.

    Args:
        target: What is asked for.
        challenge: The challenge's fields.
        login: Who we are.
        method: Of the question.
        cnonce: Our own nonce, made if None.

    """
    # late: 4 MiB and 20 ms that an agent without such a proxy never needs
    from urllib.request import parse_http_list, parse_keqv_list

    field = parse_keqv_list(parse_http_list(challenge))
    algorithm = field.get("algorithm", "MD5")
    choices = [one.strip() for one in field.get("qop", "auth").split(",")]
    make = HASHES.get(algorithm.upper())
    if {"realm", "nonce"} - field.keys() or make is None or "auth" not in choices:
        return ""

    def hashed(*parts: str) -> str:
        return make(":".join(parts).encode(), usedforsecurity=False).hexdigest()

    cnonce = secrets.token_hex(16) if cnonce is None else cnonce
    realm, nonce, count = field["realm"], field["nonce"], "00000001"
    secret, asked = hashed(login.user, realm, login.password), hashed(method, target)
    response = hashed(secret, nonce, count, cnonce, "auth", asked)
    told = {"username": login.user, "realm": realm, "nonce": nonce, "uri": target}
    quoted = [f'{name}="{_escaped(value)}"' for name, value in told.items()]
    quoted += [f'response="{response}"', f"algorithm={algorithm}", "qop=auth", f"nc={count}"]
    quoted.append(f'cnonce="{cnonce}"')
    if "opaque" in field:
        quoted.append(f'opaque="{_escaped(field["opaque"])}"')
    return f"Digest {', '.join(quoted)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "")
