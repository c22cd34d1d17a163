"""What is marked as personal, and the corpus of what only looks so."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.personal import may_be_personal, of_key, of_number, of_property, of_text

MAC_HOMES = "/" + "Users"
PERSONAL = {
    "email": ["bob@mail.example", "write to Bob.O'Neil+x@mail.example.co.uk now", "<a_b@x-y.de>"],
    "phone": ["+49 170 1234567", "+1 (555) 123-4567", "call (555) 123-4567", "555-123-4567"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "card 340000000000009."],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "ip": ["10.20.30.40", "from 192.168.178.21:443", "2001:db8:85a3::8a2e:370:7334", "fe80::1"],
    "mac": ["3c:22:fb:01:9a:7e", "3C-22-FB-01-9A-7E"],
    "path": [
        "/home/bob/secret.txt",
        f"at {MAC_HOMES}/bob:3",
        r"C:\Users\Bob Smith\x",
        f"C:{MAC_HOMES}/bob/x",
    ],
    "secret": [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "AKIAIOSFODNN7EXAMPLE",
        "key: Zk9vQ2x1bmRlckx1cnkxMjM0NTY3OHdxY3Y",
    ],
    "text": [
        "I wanted to tell you that since the last update my notes about my divorce cannot be found"
        " any more and I am very sad because of it please help me soon"
    ],
}
HARMLESS = [
    "build.finished",
    "2026-11-21T17:21:45.123Z",
    "1795225137848",
    "12:30:05",
    "3.11.7",
    "10.0.22631.4460",
    "127.0.0.1",
    "0.0.0.0",
    "1.2.3.4-beta",
    "::1",
    "v1.0.0-rc.1+build.5",
    "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "https://docs.example.com/guide/getting-started-with-the-new-editor",
    "com.example.application.module.SubModuleFactoryBean",
    "rgba(12, 34, 56, 0.5)",
    "1920x1080",
    "Europe/Berlin",
    "en-US,en;q=0.9",
    "/usr/lib/python3.11/site-packages/module/file.py",
    f"{MAC_HOMES}/Shared/x",
    "@media (min-width: 600px)",
    "user@",
    "follow @acme",
    "1234 5678 9012 3456",  # no card: its check digit is wrong
    "0000 0000 0000 0000",
    "DE00 3704 0044 0532 0130 00",  # no IBAN: its checksum is wrong
    "order 4711-0815-2026",
    "12.34.56.789",
    "10-20-30-40-50-60-70",
    "The file could not be opened because it does not exist",
    "MyVeryLongClassNameThatDoesSomethingUseful",
    "checkout-step-3-of-5-payment-method-v2",
    "std::vector::size",
    "KeyError: 'x' at line 3",
    "xfQDpOf5gU2R",
    "2026-11-21 2026-11-22 2026-11-23",
]


@pytest.mark.parametrize(("word", "text"), [(w, t) for w, many in PERSONAL.items() for t in many])
def test_what_is_personal_is_marked(word: str, text: str) -> None:
    assert of_text(text) == (word,)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_so_is_not(text: str) -> None:
    assert of_text(text) == ()


@given(
    before=st.text(max_size=20),
    text=st.sampled_from([t for many in PERSONAL.values() for t in many]),
    after=st.text(max_size=20),
)
def test_whatever_a_pattern_finds_passes_the_quick_look(before: str, text: str, after: str) -> None:
    value = before + text + after
    payload = json.dumps({"k": value}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert not of_text(value) or may_be_personal(payload)


def test_an_ordinary_payload_is_not_looked_at_twice() -> None:
    for payload in (
        {"seconds": 41, "ok": True},
        {"screen": "settings", "tab": "general"},
        {"n": 1.5},
    ):
        assert not may_be_personal(json.dumps(payload, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("email", "email"),
        ("userEmail", "email"),
        ("e_mail_address", "email"),
        ("contact-email", "email"),
        ("EMAIL", "email"),
        ("emailCount", ""),
        ("email_verified", ""),
        ("mailbox", ""),
        ("phoneNumber", "phone"),
        ("first_name", "name"),
        ("lastName", "name"),
        ("name", ""),
        ("fileName", ""),
        ("user_name", "name"),
        ("password", "secret"),
        ("apiKey", "secret"),
        ("accessToken", "secret"),
        ("tokens", ""),
        ("tokenCount", ""),
        ("ip", "ip"),
        ("clientIp", "ip"),
        ("zip", "address"),
        ("zipFile", ""),
        ("gzip", ""),
        ("cardNumber", "card"),
        ("dateOfBirth", "birthday"),
        ("lat", "location"),
        ("latency", ""),
        ("hostname", "host"),
        ("description", ""),
        ("", ""),
        ("日本", ""),
    ],
)
def test_a_key_says_what_its_value_is(key: str, word: str) -> None:
    assert of_key(key) == word


def test_a_flag_a_count_or_nothing_is_not_personal_whatever_its_key_says() -> None:
    assert of_property("email", "x") == "email"
    assert of_property("email", "") == ""
    assert of_property("email", True) == ""
    assert of_property("email", 3) == ""
    assert of_property("phone", 1701234567) == "phone"
    assert of_property("address", "https://x.example") == ""


def test_a_card_is_one_without_quotes_too() -> None:
    assert of_number(4111111111111111) == "card"
    assert of_number(1795225137848) == ""
    assert of_number(4111111111111112) == ""
    assert of_number(0.5) == ""


UNITS = (
    "a",
    "1",
    "a@",
    "1 ",
    "a.",
    ":",
    "AA00",
    "+1",
    "1-",
    "/home/",
    "aB3-",
    "eyJ",
    "eyJa.",
    "@a.",
)


@pytest.mark.parametrize("unit", UNITS)
def test_no_text_takes_long(unit: str) -> None:
    began = time.perf_counter()
    of_text(unit * 4096)
    assert time.perf_counter() - began < 0.25
