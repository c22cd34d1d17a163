"""The device id: as SECURITY.md gives it, and as hard to undo as it promises."""

from __future__ import annotations

import base64
import hashlib
import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.identity import (
    Candidate,
    choose_mac,
    device_id,
    is_proposal,
    passing_device_id,
)
from tracking.errors import Bug

KEY = bytes(range(32))
MAC = bytes.fromhex("3c5282aabbcc")


def card(mac: str, name: str = "eth0", *, physical: bool = True, **more: bool) -> Candidate:
    return Candidate(name=name, mac=bytes.fromhex(mac), physical=physical, **more)


def test_the_device_id_is_the_formula_of_the_threat_model() -> None:
    inner = hmac.new(KEY, b"deviceId/v1\x00acme-notes", hashlib.sha256).digest()
    outer = hmac.new(inner, MAC, hashlib.sha256).digest()
    expected = base64.b32encode(outer[:15]).decode().lower()
    assert device_id(KEY, "acme-notes", MAC) == expected
    assert len(expected) == 24


def test_the_device_id_never_changes_between_versions() -> None:
    # computed once with `openssl dgst -mac HMAC` and `base32`
    assert device_id(KEY, "acme-notes", MAC) == "y463xnr6yciodmvglz64ake3"


@given(st.binary(min_size=32, max_size=32), st.text(max_size=64), st.binary(min_size=6, max_size=6))
def test_every_device_id_is_24_letters_and_digits(key: bytes, app_id: str, mac: bytes) -> None:
    made = device_id(key, app_id, mac)
    assert len(made) == 24
    assert set(made) <= set(string.ascii_lowercase + "234567")


def test_knowing_the_address_and_the_app_does_not_give_the_device_id_away() -> None:
    made = device_id(hashlib.sha256(b"secret").digest(), "acme-notes", MAC)
    guesses = set()
    for low in range(2**14):  # the last bytes of a known vendor's cards, the true one among them
        mac = MAC[:4] + low.to_bytes(2, "big")
        for raw in (
            hashlib.sha256(mac).digest(),
            hashlib.sha256(b"acme-notes" + mac).digest(),
            hmac.digest(b"acme-notes", mac, "sha256"),
            hmac.digest(bytes(32), mac, "sha256"),
        ):
            guesses.add(base64.b32encode(raw[:15]).decode().lower())
        guesses.add(device_id(bytes(32), "acme-notes", mac))
    assert made not in guesses


def test_two_installations_with_one_address_are_two_devices() -> None:
    assert device_id(KEY, "acme-notes", MAC) != device_id(KEY[::-1], "acme-notes", MAC)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=6, max_size=6))
def test_two_apps_cannot_be_linked_by_their_device_ids(key: bytes, mac: bytes) -> None:
    one, other = device_id(key, "acme-notes", mac), device_id(key, "acme-paint", mac)
    assert not any(one[at : at + 8] in other for at in range(len(one) - 7))


@pytest.mark.parametrize(("key", "mac"), [(b"short", MAC), (KEY, b""), (KEY, MAC + b"\0")])
def test_a_key_or_an_address_of_the_wrong_length_is_our_mistake(key: bytes, mac: bytes) -> None:
    with pytest.raises(Bug):
        device_id(key, "acme-notes", mac)


def test_a_passing_device_id_looks_like_any_other_and_says_nothing() -> None:
    assert passing_device_id(bytes(15)) == "a" * 24
    with pytest.raises(Bug):
        passing_device_id(bytes(14))


@pytest.mark.parametrize(
    "unfit",
    [
        card("000000000000"),
        card("ffffffffffff"),
        card("01005e000001"),  # multicast
        card("3c5282000001", physical=False),
        card("005056000001"),  # VMware
        card("0242ac110002"),  # Docker
        card("3c5282000001", "veth12"),
        card("3c5282000001", "docker0"),
        card("3c5282000001", "wg0"),
        card("3c5282000001", "vEthernet (WSL)"),
        card("3c5282000001", "Local Area Connection* 2"),
        card("3c5282", "eth0"),
    ],
    ids=lambda c: f"{c.name}-{c.mac.hex()}",
)
def test_an_address_that_says_nothing_about_the_machine_is_dropped(unfit: Candidate) -> None:
    assert choose_mac([unfit]) is None
    real = card("f8e43b112233", "wlp3s0", wifi=True)
    assert choose_mac([unfit, real]) == real.mac


@pytest.mark.parametrize("name", ["eno1", "enp3s0", "en0", "p2p1", "local0", "Ethernet 2", "wlan0"])
def test_the_names_of_real_cards_are_not_taken_for_virtual_ones(name: str) -> None:
    assert choose_mac([card("3c5282000001", name)]) is not None


def test_unique_comes_before_local_built_in_before_usb_wired_before_wireless() -> None:
    ranked = [
        card("f00000000009", "enp1s0"),
        card("100000000002", "wlp2s0", wifi=True),
        card("100000000001", "enx1", usb=True),
        card("020000000001", "enp9s0"),
    ]
    for at in range(len(ranked)):
        assert choose_mac(ranked[at:][::-1]) == ranked[at].mac


@given(st.permutations([card("3c5282000003"), card("3c5282000001"), card("3c5282000002", "eth9")]))
def test_the_order_in_which_cards_are_found_does_not_matter(cards: list[Candidate]) -> None:
    assert choose_mac(cards) == bytes.fromhex("3c5282000001")


def test_a_virtual_machine_whose_only_card_is_local_still_has_an_address() -> None:
    assert choose_mac([card("02fc00000001")]) == bytes.fromhex("02fc00000001")


def test_an_address_does_not_show_when_a_card_is_printed() -> None:
    shown = repr(card("3c5282aabbcc"))
    assert "eth0" in shown
    assert "3c52" not in shown
    assert "\\x82" not in shown


def test_a_far_ends_wish_for_an_anonymous_id_is_told_from_an_echo() -> None:
    sent = [b'{"id":"1","anonId":"ofAnEvent-12"},{"id":"2"}']
    assert is_proposal("aNewOne-1234", "xfQDpOf5gU2R", sent)
    assert not is_proposal("xfQDpOf5gU2R", "xfQDpOf5gU2R", [])
    assert not is_proposal("ofAnEvent-12", "xfQDpOf5gU2R", sent)
    for nonsense in ("", "short", "x" * 65, "with space 12", 'quote"123456', "ümläut-12345"):
        assert not is_proposal(nonsense, "xfQDpOf5gU2R", [])
