"""What people, desktops and PAC scripts write about proxies, and how it is read."""

from __future__ import annotations

import pytest

from agent.rules.proxies import (
    Proxy,
    Wanted,
    bypassed,
    from_environment,
    from_gnome,
    from_kde,
    from_macos,
    from_pac,
    parse_proxy,
)
from agent.settings.network import check_pac, check_proxy
from tracking.errors import PacFault, ProxyFault, SettingsFault

GNOME = """\
org.gnome.system.proxy autoconfig-url ''
org.gnome.system.proxy ignore-hosts ['localhost', '127.0.0.0/8', '*.near.example']
org.gnome.system.proxy mode 'manual'
org.gnome.system.proxy use-same-proxy true
org.gnome.system.proxy.ftp host ''
org.gnome.system.proxy.ftp port 0
org.gnome.system.proxy.http authentication-password 'open'
org.gnome.system.proxy.http host 'plain.example'
org.gnome.system.proxy.http port 8080
org.gnome.system.proxy.https host 'proxy.example'
org.gnome.system.proxy.https port 3128
org.gnome.system.proxy.socks host ''
org.gnome.system.proxy.socks port 0
"""


@pytest.mark.parametrize(
    ("written", "host", "port", "credentials"),
    [
        ("http://proxy.example:3128/", "proxy.example", 3128, ""),
        ("proxy.example:3128", "proxy.example", 3128, ""),
        ("http://Proxy.Example", "proxy.example", 80, ""),
        ("http://me:p%40ss@[fd00::1]:8080", "fd00::1", 8080, "me:p@ss"),
        ("http://me@proxy.example", "proxy.example", 80, "me:"),
    ],
)
def test_a_proxy_is_understood_with_and_without_scheme_port_and_login(
    written: str, host: str, port: int, credentials: str
) -> None:
    proxy = parse_proxy(written, "https_proxy")
    assert (proxy.host, proxy.port, proxy.credentials) == (host, port, credentials)
    assert "p@ss" not in repr(proxy)


@pytest.mark.parametrize(
    "written",
    ["socks5://h:1", "https://h:1", "http://h:x", "http://", "http://h/path", "http://h h", "://"],
)
def test_what_is_no_http_proxy_is_a_fault_that_names_its_source(written: str) -> None:
    with pytest.raises(ProxyFault) as caught:
        parse_proxy(written, "https_proxy")
    assert "https_proxy" in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "past"),
    [
        ("far.example", True),
        (".example", True),
        ("*.example", True),
        ("example", True),
        ("ample", False),
        ("far.example:443", True),
        ("far.example:80", False),
        ("*", True),
        ("<local>", False),
        ("", False),
        ("10.0.0.0/8", False),
        (" FAR.example ", True),
    ],
)
def test_a_name_is_compared_by_its_labels(pattern: str, past: bool) -> None:
    assert bypassed("far.example", 443, [pattern]) is past


@pytest.mark.parametrize(
    ("host", "pattern", "past"),
    [
        ("10.2.3.4", "10.0.0.0/8", True),
        ("11.2.3.4", "10.0.0.0/8", False),
        ("10.2.3.4", "10.2.3.4:443", True),
        ("fd00::7", "fd00::/8", True),
        ("fd00::7", "[fd00::7]:443", True),
        ("fd00::7", "10.0.0.0/8", False),
        ("printer", "<local>", True),
        ("127.0.0.1", "", True),
        ("localhost", "", True),
    ],
)
def test_addresses_and_networks_are_compared_as_such(host: str, pattern: str, past: bool) -> None:
    assert bypassed(host, 443, [pattern]) is past


def test_variables_win_in_their_order_and_no_proxy_leads_past_them() -> None:
    env = {"ALL_PROXY": "all.example:1", "HTTPS_PROXY": "upper.example:1", "http_proxy": "no:1"}
    assert from_environment({"http_proxy": "plain.example:1"}, "far.example", 443) is None
    found = from_environment(env, "far.example", 443)
    assert found == Wanted((Proxy("upper.example", 1, "", "HTTPS_PROXY"),), source="HTTPS_PROXY")
    past = from_environment(env | {"no_proxy": "x,far.example"}, "far.example", 443)
    assert past == Wanted(source="no_proxy")


def test_gnomes_settings_are_read_for_https() -> None:
    found = from_gnome(GNOME, "far.example", 443)
    assert found is not None
    assert found.proxies == (Proxy("proxy.example", 3128, "", "GNOME"),)
    assert from_gnome(GNOME, "a.near.example", 443) == Wanted(source="GNOME")
    assert from_gnome(GNOME.replace("'manual'", "'none'"), "far.example", 443) is None
    auto = GNOME.replace("'manual'", "'auto'").replace("url ''", "url 'http://w.example/p.pac'")
    assert from_gnome(auto, "far.example", 443) == Wanted(
        pac="http://w.example/p.pac", source="GNOME"
    )
    assert from_gnome("no such schema\n", "far.example", 443) is None
    only_socks = GNOME.replace("https host 'proxy.example'", "https host ''").replace(
        "socks host ''", "socks host 's.example'"
    )
    with pytest.raises(ProxyFault, match="SOCKS"):
        from_gnome(only_socks, "far.example", 443)


KDE = """\
[$Version]
update_info=kioslave.upd:kde2.2/r1

[Proxy Settings][Script]
ProxyType=9

[Proxy Settings]
NoProxyFor=localhost,.near.example
Proxy Config Script=http://w.example/p.pac
ProxyType=1
ReversedException=false
httpProxy[$e]=http://plain.example 8080
httpsProxy[$e]=http://proxy.example 3128
"""


def test_kdes_settings_are_read_for_https() -> None:
    proxy = Wanted((Proxy("proxy.example", 3128, "", "KDE"),), source="KDE")
    assert from_kde(KDE, "far.example", 443) == proxy
    assert from_kde(KDE.replace("example 3128", "example:3128"), "far.example", 443) == proxy
    assert from_kde(KDE, "a.near.example", 443) == Wanted(source="KDE")
    only = KDE.replace("ReversedException=false", "ReversedException=true")
    assert from_kde(only, "a.near.example", 443) == proxy
    assert from_kde(only, "far.example", 443) == Wanted(source="KDE")
    script = KDE.replace("ProxyType=1", "ProxyType=2")
    assert from_kde(script, "far.example", 443) == Wanted(
        pac="http://w.example/p.pac", source="KDE"
    )
    for nothing in (
        "",
        KDE.replace("ProxyType=1", "ProxyType=0"),
        "[Proxy Settings]\nProxyType=1\n",
    ):
        assert from_kde(nothing, "far.example", 443) is None
    with pytest.raises(ProxyFault, match="KDE"):
        from_kde(KDE.replace("=http://proxy", "=socks://proxy"), "far.example", 443)


def test_the_script_that_macos_names_is_found() -> None:
    listing = """<dictionary> {
  ProxyAutoConfigEnable : 1
  ProxyAutoConfigURLString : http://w.example/p.pac
}"""
    assert from_macos(listing) == "http://w.example/p.pac"
    assert from_macos(listing.replace("Enable : 1", "Enable : 0")) == ""


def test_a_scripts_answer_is_a_list_of_proxies_in_turn() -> None:
    one, two = Proxy("a.example", 3128, "", "PAC"), Proxy("b.example", 80, "", "PAC")
    assert from_pac("PROXY a.example:3128; proxy b.example ;DIRECT", "PAC") == (one, two, None)
    assert from_pac("PROXY a.example:3128;PROXY a.example:3128", "PAC") == (one,)
    assert from_pac("", "PAC") == (None,)
    assert from_pac("DIRECT", "PAC") == (None,)
    assert from_pac("SOCKS5 s:1; PROXY a.example:3128", "PAC") == (one,)
    with pytest.raises(PacFault, match="SOCKS5 s:1"):
        from_pac("SOCKS5 s:1; HTTPS h:1; PROXY :", "PAC")
    assert len(from_pac("; ".join(f"PROXY h{n}:1" for n in range(99)), "PAC")) <= 8


@pytest.mark.parametrize("value", ["socks5://h:1", "proxy.example:1", "http://me:you@h:1", "off"])
def test_a_proxy_setting_is_a_word_or_an_address_without_a_password(value: str) -> None:
    with pytest.raises(SettingsFault):
        check_proxy(value)


def test_settings_are_kept_in_their_normal_form() -> None:
    assert check_proxy("system") == "system"
    assert check_proxy("http://Proxy.example:3128/") == "http://proxy.example:3128"
    assert check_pac("http://w.example/p.pac") == "http://w.example/p.pac"
    assert check_pac("/etc/p.pac") == "/etc/p.pac"
    assert check_pac("") == ""
    for wrong in ("p.pac", "ftp://h/p", "http://me@h/p"):
        with pytest.raises(SettingsFault):
            check_pac(wrong)
