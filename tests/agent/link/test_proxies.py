"""Through proxies: found, asked, answered, and told apart from the far end behind them.

The proxies here are sockets that do what a test tells them; a real one (tinyproxy) stands in
tests/system/test_networks.py.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from far_ends import Authority, FarEnd, Listener, RawFarEnd, hold, lay_through, read_request

from agent.adapters.roads.atlas import Atlas, describe
from agent.adapters.roads.patience import Patience
from agent.adapters.roads.proxy_login import Login
from agent.adapters.roads.proxy_login import digest as answer_digest
from agent.adapters.roads.road import open_road
from agent.adapters.roads.tls import client_context
from agent.rules.contacts import Contacts
from agent.rules.endpoints import parse_address
from agent.rules.link import Lost, Opened, Received
from tracking.errors import (
    LinkFault,
    LoginWanted,
    NotListed,
    ProxyFault,
    SignIn,
    Unreachable,
)

Links = Callable[..., Listener]
FarEnds = Callable[..., FarEnd]
RawFarEnds = Callable[..., RawFarEnd]

FAR = parse_address("wss://far.example")


def tunnel(sock: socket.socket, asked: list[bytes]) -> None:
    """An honest proxy that lays every road to 127.0.0.1."""
    request = read_request(sock)
    asked.append(request)
    lay_through(sock, request)


def guarded(challenge: bytes, right: Callable[[str], bool], asked: list[bytes]) -> object:
    """A proxy that wants a login."""

    def behave(sock: socket.socket) -> None:
        request = read_request(sock)
        asked.append(request)
        found = re.search(rb"(?im)^proxy-authorization: (.*)\r$", request)
        if found and right(found[1].decode()):
            lay_through(sock, request)
        else:
            sock.sendall(b"HTTP/1.1 407 Who is it?\r\n" + challenge + b"\r\n\r\n")

    return behave


def basic(name_and_password: str) -> Callable[[str], bool]:
    want = "Basic " + base64.b64encode(name_and_password.encode()).decode()
    return lambda said: said == want


def digest(user: str, password: str) -> Callable[[str], bool]:
    """RFC 7616 §3.4.1 by hand, so that the standard library is not compared with itself."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    def right(said: str) -> bool:
        field = dict(re.findall(r'(\w+)="?([^",]+)"?', said.removeprefix("Digest ")))
        secret = md5(f"{user}:the lobby:{password}")
        asked = md5(f"CONNECT:{field['uri']}")
        middle = f"{field['nonce']}:{field['nc']}:{field['cnonce']}:{field['qop']}"
        return field["username"] == user and field["response"] == md5(f"{secret}:{middle}:{asked}")

    return right


BASIC = b'Proxy-Authenticate: Basic realm="the lobby"'
DIGEST = b'Proxy-Authenticate: Digest realm="the lobby", nonce="abc", qop="auth", algorithm=MD5'


def through(port: int, login: Login | None = None) -> Atlas:
    return Atlas(proxy=f"http://127.0.0.1:{port}", find_login=lambda _: login)


def road(atlas: Atlas, port: int = 443, patience_s: float = 2.0) -> LinkFault:
    """Return how a road fails."""
    with pytest.raises(LinkFault) as caught:
        open_road(
            parse_address(f"wss://far.example:{port}"),
            Patience(patience_s),
            context=client_context,
            atlas=atlas,
        )
    return caught.value


# --- asking a proxy ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("challenge", "right"),
    [
        (BASIC, basic("mé:p@ss:word")),
        (DIGEST, digest("mé", "p@ss:word")),
        (BASIC + b"\r\n" + DIGEST, digest("mé", "p@ss:word")),
    ],
    ids=["basic", "digest", "the better of both"],
)
def test_a_far_end_behind_a_proxy_is_reached_by_connect_and_proved_through_it(
    listener: Links,
    far_end: FarEnds,
    raw_far_end: RawFarEnds,
    authority: Authority,
    challenge: bytes,
    right: Callable[[str], bool],
) -> None:
    asked: list[bytes] = []
    proxy = raw_far_end(guarded(challenge, right, asked))  # type: ignore[arg-type]
    there = far_end(tls=authority.server(("far.example",)))
    atlas = through(proxy.port, Login("mé", "p@ss:word"))
    here = listener(ca_file=authority.ca_file, atlas=atlas)
    here.connect(f"wss://far.example:{there.port}/a/")
    assert here.next() == Opened(1)
    here.link.send(1, b'{"data":[{"id":"a1"}]}')
    assert here.wait(Received).ids == ("a1",)
    assert asked[0].startswith(f"CONNECT far.example:{there.port} HTTP/1.1\r\n".encode())
    assert b"Authorization" not in asked[0], "a password goes only to a proxy that wants one"
    assert len(asked) == 2


def test_a_login_in_the_variable_is_used_too(
    listener: Links, far_end: FarEnds, raw_far_end: RawFarEnds, authority: Authority
) -> None:
    asked: list[bytes] = []
    proxy = raw_far_end(guarded(BASIC, basic("me:p@ss"), asked))  # type: ignore[arg-type]
    there = far_end(tls=authority.server(("far.example",)))
    atlas = Atlas(env={"https_proxy": f"http://me:p%40ss@127.0.0.1:{proxy.port}"})
    here = listener(ca_file=authority.ca_file, atlas=atlas)
    here.connect(f"wss://far.example:{there.port}/a/")
    assert here.next() == Opened(1)


def test_a_refused_login_is_not_tried_again_and_none_is_said_to_be_wanted(
    raw_far_end: RawFarEnds,
) -> None:
    asked: list[bytes] = []
    proxy = raw_far_end(guarded(BASIC, basic("me:right"), asked))  # type: ignore[arg-type]
    fault = road(through(proxy.port, Login("me", "wrong")))
    assert (type(fault), str(fault)) == (LoginWanted, "the proxy 127.0.0.1 refused the login")
    assert len(asked) == 2, "a third wrong password may lock an account"
    fault = road(through(proxy.port))
    assert isinstance(fault, LoginWanted)
    assert "wants a name and a password" in str(fault)
    assert "proxy-login" in fault.advice


def test_the_same_wrong_password_is_not_sent_twice_however_often_the_network_changes(
    raw_far_end: RawFarEnds,
) -> None:
    asked: list[bytes] = []
    proxy = raw_far_end(guarded(BASIC, basic("me:right"), asked))  # type: ignore[arg-type]
    logins = [Login("me", "wrong")]
    atlas = Atlas(proxy=f"http://127.0.0.1:{proxy.port}", find_login=lambda _: logins[0])

    def sent() -> int:
        return sum(b"Proxy-Authorization" in request for request in asked)

    for _ in range(3):
        assert "refused the login" in str(road(atlas))
        atlas.changed()
    assert sent() == 1
    logins[0] = Login("me", "wrong as well")
    road(atlas)
    assert sent() == 2
    atlas.login_changed()
    road(atlas)
    assert sent() == 3, "a person said so again"
    by_variable = Atlas(env={"https_proxy": f"http://me:wrong@127.0.0.1:{proxy.port}"})
    for _ in range(2):
        road(by_variable)
    assert sent() == 4


@pytest.mark.parametrize("offer", [b"NTLM", b"Negotiate\r\nProxy-Authenticate: NTLM", b""])
def test_what_is_not_spoken_is_said_not_guessed(raw_far_end: RawFarEnds, offer: bytes) -> None:
    asked: list[bytes] = []
    challenge = b"Proxy-Authenticate: " + offer if offer else b"X: y"
    proxy = raw_far_end(guarded(challenge, lambda _: False, asked))  # type: ignore[arg-type]
    fault = road(through(proxy.port, Login("me", "p")))
    assert isinstance(fault, LoginWanted)
    assert "not spoken here" in str(fault)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ProxyFault, "answered 502"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ProxyFault, "answered nonsense"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", ProxyFault, "talks when it should be silent"),
        (b"HTTP/1.1 200 O", Unreachable, "hung up before it answered"),
        (b"HTTP/1.1 511 Sign In\r\n\r\n", SignIn, "answered 511"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/?u=1\r\n\r\n",
            SignIn,
            "answered 302 and sends to portal.example",
        ),
    ],
)
def test_a_proxy_that_will_not_is_told_apart_from_the_far_end(
    raw_far_end: RawFarEnds, answer: bytes, kind: type[LinkFault], said: str
) -> None:
    def refuse(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        hold(sock)

    fault = road(through(raw_far_end(refuse).port))
    assert isinstance(fault, kind)
    assert said in str(fault)


def test_a_proxy_that_says_nothing_is_named_and_not_the_far_end(raw_far_end: RawFarEnds) -> None:
    fault = road(through(raw_far_end(hold).port), patience_s=0.5)
    assert (type(fault), str(fault)) == (ProxyFault, "the proxy 127.0.0.1 does not answer")


def test_a_proxy_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    fault = road(through(port))
    assert isinstance(fault, ProxyFault)
    assert f"the proxy 127.0.0.1:{port} is not reached" in str(fault)


def test_a_proxy_that_dies_in_the_middle_of_a_frame_is_a_lost_link(
    listener: Links, far_end: FarEnds, raw_far_end: RawFarEnds, authority: Authority
) -> None:
    asked: list[bytes] = []
    proxy = raw_far_end(lambda sock: tunnel(sock, asked))
    there = far_end(tls=authority.server(("far.example",)))
    here = listener(ca_file=authority.ca_file, atlas=through(proxy.port))
    here.connect(f"wss://far.example:{there.port}/a/")
    assert here.next() == Opened(1)
    here.link.send(1, b'{"data":[]}' + b" " * 200_000)
    proxy.stop()
    assert isinstance(here.wait(Lost).fault, Unreachable)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_a_digest_is_the_one_of_the_rfc(algorithm: str, response: str) -> None:
    """RFC 7616 §3.9.1."""
    said = answer_digest(
        "/dir/index.html",
        f'realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
        Login("Mufasa", "Circle of Life"),
        method="GET",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert f'response="{response}"' in said
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in said


# --- finding a proxy ---------------------------------------------------------------------------


def test_loopback_never_goes_through_a_proxy(
    listener: Links, far_end: FarEnds, authority: Authority, raw_far_end: RawFarEnds
) -> None:
    proxy = raw_far_end(hold)
    place = f"http://127.0.0.1:{proxy.port}"
    plain, secure = far_end(), far_end(tls=authority.server())
    for atlas in (Atlas(proxy=place), Atlas(env={"https_proxy": place, "all_proxy": place})):
        here = listener(ca_file=authority.ca_file, atlas=atlas)
        here.connect(plain.url + "/a/")
        assert here.next() == Opened(1)
        here.connect(f"wss://localhost:{secure.port}/a/")
        assert here.next() == Opened(2)
    assert proxy.accepted == 0


def test_gnomes_settings_are_asked_where_there_is_gsettings_and_kept_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "gsettings"
    program.write_text(
        "#!/bin/sh\n"
        f"echo asked >>{tmp_path}/calls\n"
        '[ "$*" = "list-recursively org.gnome.system.proxy" ] || exit 1\n'
        "echo \"org.gnome.system.proxy mode 'manual'\"\n"
        "echo \"org.gnome.system.proxy.https host 'proxy.example'\"\n"
        "echo 'org.gnome.system.proxy.https port 3128'\n"
    )
    program.chmod(0o755)
    atlas = Atlas(env={"PATH": f"{tmp_path}:/bin:/usr/bin"})
    for _ in range(3):
        assert describe(atlas.wanted(FAR)) == "proxy proxy.example:3128, named by GNOME"
    assert (tmp_path / "calls").read_text() == "asked\n"
    atlas.changed()
    atlas.wanted(FAR)
    assert (tmp_path / "calls").read_text() == "asked\nasked\n"
    assert describe(Atlas(env=atlas.env, proxy="none").wanted(FAR)) == "direct, says network.proxy"
    monkeypatch.setattr("agent.adapters.roads.atlas.PROGRAM_S", 0.2)
    program.write_text("#!/bin/sh\nexec sleep 9\n")
    atlas.changed()
    assert describe(atlas.wanted(FAR)) == "direct", "a program that hangs names nothing"


def test_kdes_own_file_is_read_on_its_desktop_only(tmp_path: Path) -> None:
    (tmp_path / "kioslaverc").write_text(
        "[Proxy Settings]\nProxyType=1\nhttpsProxy=http://proxy.example 3128\n"
    )
    env = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_CURRENT_DESKTOP": "KDE", "PATH": ""}
    assert describe(Atlas(env=env).wanted(FAR)) == "proxy proxy.example:3128, named by KDE"
    assert describe(Atlas(env=env | {"XDG_CURRENT_DESKTOP": "XFCE"}).wanted(FAR)) == "direct"
    (tmp_path / "kioslaverc").unlink()
    assert describe(Atlas(env=env).wanted(FAR)) == "direct"


def test_a_host_that_is_not_on_the_list_is_not_even_looked_up() -> None:
    looked_up = []

    def resolve(host: str, *_: object) -> list[object]:
        looked_up.append(host)
        return []

    contacts = Contacts()
    contacts.add("far.example", 443, "events of acme")
    with pytest.raises(NotListed, match=r"near\.example"):
        open_road(
            parse_address("wss://near.example"),
            Patience(1),
            context=client_context,
            resolve=resolve,  # type: ignore[arg-type]
            atlas=Atlas(contacts=contacts, env={}),
        )
    assert looked_up == []
    with pytest.raises(Unreachable, match="has no address"):
        open_road(
            FAR,
            Patience(1),
            context=client_context,
            resolve=resolve,  # type: ignore[arg-type]
            atlas=Atlas(contacts=contacts, env={}),
        )
    assert looked_up == ["far.example"]


def test_a_proxy_is_listed_with_who_named_it() -> None:
    contacts = Contacts()
    contacts.add("far.example", 443, "events of acme")
    atlas = Atlas(contacts=contacts, env={"https_proxy": "http://proxy.example:3128"})
    atlas.proxies_to(FAR, Patience(1))
    assert [(row.host, row.port, row.purpose) for row in contacts.rows()] == [
        ("far.example", 443, "events of acme"),
        ("proxy.example", 3128, "proxy, named by https_proxy"),
    ]
