"""Where a far end may be: row 38 of the threat model, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.endpoints import (
    check_endpoint,
    check_origin,
    endpoint_url,
    is_loopback,
    parse_address,
)
from tracking.errors import SettingsFault


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("wss://app.nucleus.sh", "wss://app.nucleus.sh"),
        ("wss://app.nucleus.sh/", "wss://app.nucleus.sh"),
        ("WSS://App.Nucleus.SH:443/", "wss://app.nucleus.sh"),
        ("wss://collector:8443/behind/a/proxy/", "wss://collector:8443/behind/a/proxy"),
        ("wss://192.168.1.7:9000", "wss://192.168.1.7:9000"),
        ("wss://[2001:db8::1]:9000/p", "wss://[2001:db8::1]:9000/p"),
        ("ws://127.0.0.1:7780", "ws://127.0.0.1:7780"),
        ("ws://127.8.9.1:80", "ws://127.8.9.1"),
        ("ws://[::1]:7780/x", "ws://[::1]:7780/x"),
        ("ws://LocalHost:7780", "ws://localhost:7780"),
    ],
)
def test_an_endpoint_that_is_taken(written: str, understood: str) -> None:
    assert check_endpoint(written) == understood
    assert check_endpoint(understood) == understood


@pytest.mark.parametrize(
    "url",
    [
        "ws://192.168.1.7:7780",  # plain text to the neighbours
        "ws://example.org",
        "ws://localhost.evil.tld",
        "ws://127.0.0.1.evil.tld",
        "ws://evil.tld/127.0.0.1",
        "ws://localhost.",
        "ws://127.1",  # a shorthand that some libraries read as 127.0.0.1
        "ws://127.0.0.1.",
        "ws://2130706433",
        "ws://0x7f000001",
        "ws://0177.0.0.1",
        "ws://0.0.0.0:1",
        "ws://[::]:1",
        "ws://[::ffff:127.0.0.1]:1",
        "ws://[fe80::1%25lo]:1",
        "ws://127.0.0.1@evil.tld",
        "ws://127.0.0.1:80@evil.tld",
        "ws://127.0.0.1\\@evil.tld",
        "ws://127.0.0.1#@evil.tld",
        "ws://127.0.0.1?x=1",
        "ws://127.0.0.1 .evil.tld",
        "ws://127.0.0.1\n.evil.tld",
        "ws://\u24dbocalhost:1",
        "ws://lo\u0441alhost:1",  # a Cyrillic es
        "wss://us\u00e9r.example",
        "wss://token@example.org",
        "wss://example.org:0",
        "wss://example.org:70000",
        "wss://example.org:port",
        "wss://[::1",
        "wss://-leading.example",
        "wss://127.1",
        "wss://2130706433",
        "wss://[fe80::1%25lo]",
        "wss://example.org/a|b",
        "wss://example.org/<a>",
        "wss://a..b",
        "wss://example.org/a b",
        "wss://example.org/a\u0000",
        "wss:///path",
        "wss://",
        "https://app.nucleus.sh",
        "http://127.0.0.1:7780",
        "ftp://127.0.0.1",
        "127.0.0.1:7780",
        "localhost:7780",
        "",
        "javascript:alert(1)",
    ],
)
def test_an_endpoint_that_is_refused(url: str) -> None:
    with pytest.raises(SettingsFault) as caught:
        check_endpoint(url)
    assert len(str(caught.value)) < 400


def test_an_international_name_is_asked_for_in_its_ascii_form() -> None:
    with pytest.raises(SettingsFault) as caught:
        check_endpoint("wss://us\u00e9r.example")
    assert "xn--" in caught.value.advice


@pytest.mark.parametrize(
    "url", ["ftp://me:hunter2@h", "wss://me:hunter2@h:99999", "wss://hunter2@h"]
)
def test_a_secret_in_an_address_is_not_repeated_in_the_complaint(url: str) -> None:
    with pytest.raises(SettingsFault) as caught:
        check_endpoint(url)
    assert "hunter2" not in str(caught.value) + caught.value.advice


def test_the_data_api_wants_https_or_this_machine() -> None:
    assert check_origin("https://app.nucleus.sh/") == "https://app.nucleus.sh"
    assert check_origin("http://127.0.0.1:7780") == "http://127.0.0.1:7780"
    for url in ("http://example.org", "wss://app.nucleus.sh", "http://127.1"):
        with pytest.raises(SettingsFault):
            check_origin(url)


def test_an_address_comes_apart() -> None:
    address = parse_address("wss://Example.org/p/")
    assert (address.host, address.port, address.path) == ("example.org", 443, "/p")
    assert address.secure
    assert address.authority == "example.org"
    assert parse_address("wss://[::1]:9").authority == "[::1]:9"
    assert not parse_address("ws://localhost").secure


def test_the_two_forms_of_an_endpoint() -> None:
    assert endpoint_url("wss://h/p", "acme-1", "seed") == "wss://h/p/acme-1/"
    assert endpoint_url("wss://h", "acme-1", "track") == "wss://h/app/acme-1/track"
    assert endpoint_url("wss://h/", "../x?", "track") == "wss://h/app/..%2Fx%3F/track"


@given(st.text() | st.text("wshtp:/@.#?%[]127localhost\\ ", max_size=40).map("ws://".__add__))
def test_whatever_is_written_plain_text_never_leaves_this_machine(url: str) -> None:
    try:
        address = parse_address(url)
    except SettingsFault:
        return
    assert address.secure or is_loopback(address.host)
    assert parse_address(str(address)) == address
