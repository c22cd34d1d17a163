"""Proxy scripts: fetched, run in bounds, and obeyed."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from far_ends import Authority, FarEnd, Listener, RawFarEnd, lay_through, read_request

from agent.adapters.roads.atlas import Atlas
from agent.adapters.roads.patience import Patience
from agent.rules.endpoints import parse_address
from agent.rules.link import Opened
from tracking.errors import PacFault

Links = Callable[..., Listener]
FarEnds = Callable[..., FarEnd]
RawFarEnds = Callable[..., RawFarEnd]

FAR = parse_address("wss://far.example")


def scripted(tmp_path: Path, body: str) -> Atlas:
    file = tmp_path / "proxy.pac"
    file.write_text(f"function FindProxyForURL(url, host) {{ {body} }}")
    return Atlas(pac=str(file))


def test_the_proxies_that_a_script_names_are_tried_in_turn(
    tmp_path: Path,
    listener: Links,
    far_end: FarEnds,
    raw_far_end: RawFarEnds,
    authority: Authority,
) -> None:
    asked: list[bytes] = []

    def tunnel(sock: socket.socket) -> None:
        asked.append(read_request(sock))
        lay_through(sock, asked[-1])

    proxy = raw_far_end(tunnel)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()[1]
    there = far_end(tls=authority.server(("far.example",)))
    atlas = scripted(
        tmp_path,
        f'return dnsDomainIs(host, ".example") ? "PROXY 127.0.0.1:{closed}; '
        f'PROXY 127.0.0.1:{proxy.port}" : "DIRECT";',
    )
    here = listener(ca_file=authority.ca_file, atlas=atlas, dial_s=5.0)
    here.connect(f"wss://far.example:{there.port}/a/")
    assert here.next() == Opened(1)
    assert len(asked) == 1


def test_a_script_is_fetched_once_by_http_and_sees_no_path(raw_far_end: RawFarEnds) -> None:
    asked: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        asked.append(read_request(sock))
        body = b'function FindProxyForURL(url, host){ return "PROXY " + host + url.length + ":1"; }'
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        sock.close()

    atlas = Atlas(pac=f"http://127.0.0.1:{raw_far_end(serve).port}/w/proxy.pac")
    secret = parse_address("wss://far.example/app/my-secret-id/track")
    noted: list[tuple[str, str, bytes]] = []
    for address in (secret, parse_address("wss://far.example"), FAR):
        patience = Patience(5, note=lambda *said: noted.append(said))
        (proxy,) = atlas.proxies_to(address, patience)
        assert proxy is not None
        assert proxy.host == f"far.example{len('https://far.example/')}"
    assert len(asked) == 1
    assert asked[0].startswith(b"GET /w/proxy.pac HTTP/1.1\r\n")
    assert [(kind, direction) for kind, direction, _ in noted] == [
        ("script", "sent"),
        ("script", "received"),
    ]
    assert noted[0][2] == asked[0]
    assert noted[1][2].startswith(b"HTTP/1.0 200 OK\r\n\r\nfunction FindProxyForURL")


def test_a_script_learns_the_far_ends_address_and_no_other_names(tmp_path: Path) -> None:
    looked_up = []

    def resolve(host: str, port: int, _: Patience) -> list[tuple[socket.AddressFamily, object]]:
        looked_up.append(host)
        return [(socket.AF_INET, ("10.1.2.3", port))]

    atlas = scripted(
        tmp_path,
        'if (isInNet(host, "10.0.0.0", "255.0.0.0") && !dnsResolve("spy.example"))'
        ' return "PROXY in.example:1; DIRECT"; return "DIRECT";',
    )
    found = atlas.proxies_to(FAR, Patience(5), resolve)  # type: ignore[arg-type]
    assert [proxy and proxy.host for proxy in found] == ["in.example", None]
    assert looked_up == ["far.example"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("while (true) {}", "more time or memory"),
        ("const all = []; while (true) all.push('x'.repeat(1e6) + all.length);", "memory"),
        ("return require('fs').readFileSync('/etc/passwd');", "require is not defined"),
        ("return process.env.HOME;", "process is not defined"),
        ("return call_python('x');", "call_python is not defined"),
        ("throw new Error('on a Monday');", "on a Monday"),
        ("return FindProxyForURL(url, host);", "call stack"),
        ("return 'SOCKS5 s.example:1';", "not spoken here"),
        ("{", "SyntaxError"),
    ],
)
def test_a_script_that_goes_wrong_is_a_named_fault_and_harms_nobody(
    tmp_path: Path, body: str, said: str
) -> None:
    with pytest.raises(PacFault, match=re.escape(said)):
        scripted(tmp_path, body).proxies_to(FAR, Patience(8))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 404 Not Found\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n<html>sign in</html>",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"//FindProxyForURL".ljust(2**20 + 1),
        b"",
    ],
    ids=["not found", "no script", "too large", "nothing"],
)
def test_a_script_that_cannot_be_had_is_a_named_fault(
    raw_far_end: RawFarEnds, answer: bytes
) -> None:
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)
        sock.close()

    with pytest.raises(PacFault):
        Atlas(pac=f"http://127.0.0.1:{raw_far_end(serve).port}/p").proxies_to(FAR, Patience(5))
    with pytest.raises(PacFault):
        Atlas(pac="/no/such/file.pac").proxies_to(FAR, Patience(5))


@pytest.mark.parametrize(
    ("expression", "worth"),
    [
        ('isPlainHostName("printer")', "true"),
        ('isPlainHostName("a.b")', "false"),
        ('dnsDomainIs("www.A.example", ".a.example")', "true"),
        ('localHostOrDomainIs("www", "www.a.example")', "true"),
        ('localHostOrDomainIs("web.a.example", "www.a.example")', "false"),
        ('isInNet("10.2.3.4", "10.2.0.0", "255.255.0.0")', "true"),
        ('isInNet("200.2.3.4", "200.2.0.0", "255.255.0.0")', "true"),
        ('isInNet("10.3.3.4", "10.2.0.0", "255.255.0.0")', "false"),
        ('convert_addr("104.16.41.2")', "1745889538"),
        ('dnsDomainLevels("www.a.example")', "2"),
        ('shExpMatch("http://a.example/x/y", "*/x/*")', "true"),
        ('shExpMatch("a.example", "?.example")', "true"),
        ('shExpMatch("a+example", "a.example")', "false"),
        ('weekdayRange("SUN", "SAT")', "true"),
        ("dateRange(1, 31)", "true"),
        ('dateRange("JAN", "DEC")', "true"),
        ("dateRange(1999)", "false"),
        ('dateRange(1, "JAN", 1999, 31, "DEC", 2999, "GMT")', "true"),
        ("timeRange(0, 0, 0, 23, 59, 59)", "true"),
        ('isResolvable("elsewhere.example")', "false"),
    ],
)
def test_the_functions_of_the_format_are_there(tmp_path: Path, expression: str, worth: str) -> None:
    atlas = scripted(tmp_path, f'return "PROXY is-" + String({expression}) + ".example:1";')
    (proxy,) = atlas.proxies_to(FAR, Patience(5))
    assert proxy is not None
    assert proxy.host == f"is-{worth}.example"
