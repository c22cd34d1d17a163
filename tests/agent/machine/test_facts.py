"""What an init tells of this machine, and what it never tells."""

from __future__ import annotations

import getpass
import logging
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.machine import facts as machine
from agent.adapters.machine.facts import (
    architecture,
    bcp47,
    facts,
    first_apple_language,
    language_of,
    linux_version,
    mac_bytes,
    mac_candidates,
    platform_word,
    whole_gib,
)
from agent.rules.identity import choose_mac, device_id

TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|\d{3}))?(-[a-z]{5,8})?")


def test_the_facts_have_the_shapes_of_the_seed() -> None:
    told = facts({"LANG": "de_DE.UTF-8"})
    assert told.platform == "linux"
    assert re.fullmatch(r"[\w.+:~-]{1,40}", told.os_version)
    assert told.total_ram == whole_gib(psutil.virtual_memory().total)
    assert isinstance(told.total_ram, int)
    assert told.language == "de-DE"
    assert told.arch == told.arch.lower()


def test_the_version_is_the_distributions_and_not_the_kernels() -> None:
    said = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    assert facts({}).os_version == said["VERSION_ID"].strip('"')


def test_the_facts_name_neither_host_nor_person_nor_home() -> None:
    told = msgspec.json.encode(facts()).decode()
    for private in (socket.gethostname(), getpass.getuser(), str(Path.home())):
        assert len(private) < 3 or private not in told


def test_facts_are_told_without_a_look_at_the_network_cards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never() -> None:
        raise AssertionError("the network cards were looked at without consent")

    monkeypatch.setattr(psutil, "net_if_addrs", never)
    facts()
    with pytest.raises(AssertionError):
        mac_candidates()


def test_psutil_is_loaded_only_when_something_is_asked() -> None:
    probe = "import sys, agent.adapters.machine.facts; print('psutil' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True) == "False\n"


@pytest.mark.parametrize(
    ("seen", "gib"),
    [
        (25_276_510_208, 24),  # 23.54 GiB, as the system of 24 GiB sees it
        (8_201_269_248, 8),
        (16 * 2**30, 16),
        (2**30 + 2**29, 2),
        (2**30 + 2**29 - 1, 1),
        (400 * 2**20, 1),
    ],
)
def test_memory_is_the_nearest_whole_number_of_gib_and_never_none(seen: int, gib: int) -> None:
    assert whole_gib(seen) == gib


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ({"ID": "debian", "VERSION_ID": "12"}, "12"),
        ({"ID": "ubuntu", "VERSION_ID": "24.04", "VERSION_CODENAME": "noble"}, "24.04"),
        ({"ID": "arch", "BUILD_ID": "rolling"}, "rolling"),
        ({"ID": "debian", "VERSION_CODENAME": "trixie"}, "trixie"),
        ({"ID": "odd", "VERSION_ID": " "}, "6.1.0"),
        ({}, "6.1.0"),
    ],
)
def test_rolling_and_nameless_distributions_have_a_version_too(
    release: dict[str, str], version: str
) -> None:
    assert linux_version(release, "6.1.0") == version


def test_a_linux_that_says_nothing_at_all_is_unknown() -> None:
    assert linux_version({}, "") == "unknown"


@pytest.mark.parametrize(
    ("system", "word"),
    [("linux", "linux"), ("darwin", "darwin"), ("win32", "win32"), ("cygwin", "win32")],
)
def test_platforms_are_spelled_as_the_seed_spells_them(system: str, word: str) -> None:
    assert platform_word(system) == word


@pytest.mark.parametrize(
    ("machine", "word"),
    [
        ("x86_64", "x64"),
        ("AMD64", "x64"),
        ("aarch64", "arm64"),
        ("arm64", "arm64"),
        ("i686", "ia32"),
        ("armv7l", "arm"),
        ("riscv64", "riscv64"),
    ],
)
def test_processors_are_spelled_as_the_official_clients_spell_them(machine: str, word: str) -> None:
    assert architecture(machine) == word


@pytest.mark.parametrize(
    ("env", "language"),
    [
        ({"LANG": "en_US.UTF-8"}, "en-US"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "fr_FR.UTF-8"}, "fr-FR"),
        ({"LANG": "de_DE", "LC_MESSAGES": "fr_FR", "LANGUAGE": "pl:en"}, "pl"),
        ({"LANGUAGE": "pl:en", "LC_ALL": "sv_SE.UTF-8"}, "sv-SE"),
        ({"LANG": "C", "LC_ALL": ""}, "en"),
        ({"LC_ALL": "C.UTF-8", "LANG": "de_DE"}, "en"),
        ({"LC_ALL": "POSIX"}, "en"),
        ({"LANG": "de_DE@euro"}, "de-DE"),
        ({"LANG": "sr_RS.UTF-8@latin"}, "sr-Latn-RS"),
        ({"LANG": "ca_ES.UTF-8@valencia"}, "ca-ES-valencia"),
        ({"LANG": "zh_Hant_TW"}, "zh-Hant-TW"),
        ({"LANG": "es_419"}, "es-419"),
        ({"LANG": "pt-BR"}, "pt-BR"),
        ({"LANG": "EO"}, "eo"),
        ({"LANGUAGE": "", "LANG": "it_IT"}, "it-IT"),
        ({"LC_ALL": "gibberish!", "LANG": "it_IT"}, "it-IT"),
        ({"LANGUAGE": "??:nl_NL", "LANG": "it_IT"}, "nl-NL"),
        ({"LANG": "../../etc/passwd"}, None),
        ({}, None),
    ],
)
def test_the_language_is_the_first_one_that_the_environment_names(
    env: dict[str, str], language: str | None
) -> None:
    assert language_of(env) == language
    assert facts(env).language == (language or "en")


@given(st.text(max_size=30))
def test_whatever_a_locale_says_it_becomes_a_tag_or_nothing(locale: str) -> None:
    tag = bcp47(locale)
    assert tag is None or TAG.fullmatch(tag)


@pytest.mark.parametrize(
    ("printed", "language"),
    [
        ('(\n    "de-DE",\n    "en-GB"\n)\n', "de-DE"),
        ('(\n    "zh-Hans-CN"\n)\n', "zh-Hans-CN"),
        ("(\n    fr,\n    en\n)\n", "fr"),
        ("(\n)\n", None),
        ("", None),
    ],
)
def test_the_languages_of_a_mac_are_read_as_it_prints_them(
    printed: str, language: str | None
) -> None:
    assert first_apple_language(printed) == language


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("3c:52:82:aa:bb:cc", "3c5282aabbcc"),
        ("3C-52-82-AA-BB-CC", "3c5282aabbcc"),
        ("3c52.82aa.bbcc", "3c5282aabbcc"),
        ("00:00:00:00:00:00:00:e0", None),  # FireWire and InfiniBand are longer
        ("", None),
        ("zz:52:82:aa:bb:cc", None),
    ],
)
def test_addresses_are_read_however_a_system_writes_them(text: str, mac: str | None) -> None:
    assert mac_bytes(text) == (bytes.fromhex(mac) if mac else None)


def test_every_card_of_this_machine_is_seen_and_the_loopback_never_chosen() -> None:
    seen = {card.name for card in mac_candidates()}
    linked = {
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(a.family == psutil.AF_LINK for a in addresses)
    }
    assert seen == linked
    assert choose_mac([card for card in mac_candidates() if card.name == "lo"]) is None


def card_in(folder: Path, name: str, *, device: str = "", wireless: bool = False) -> None:
    """Lay out a card as the kernel shows it in /sys/class/net."""
    (folder / name).mkdir()
    if device:
        (folder / device).mkdir(parents=True)
        (folder / name / "device").symlink_to(folder / device)
    if wireless:
        (folder / name / "phy80211").mkdir()


def test_the_kernels_own_tree_says_what_is_hardware_usb_and_wireless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    macs = {"enp1s0": "3c:52:82:00:00:01", "enx9": "3c:52:82:00:00:02"}
    macs |= {"wlp2s0": "3c:52:82:00:00:03", "vlan7": "3c:52:82:00:00:04", "tun0": ""}
    address = type(next(iter(psutil.net_if_addrs().values()))[0])
    monkeypatch.setattr(
        psutil,
        "net_if_addrs",
        lambda: {n: [address(psutil.AF_LINK, m, None, None, None)] for n, m in macs.items()},
    )
    card_in(tmp_path, "enp1s0", device="devices/pci0000:00/0000:00:1f.6")
    card_in(tmp_path, "enx9", device="devices/pci0000:00/usb1/1-2")
    card_in(tmp_path, "wlp2s0", device="devices/pci0000:00/0000:00:14.3", wireless=True)
    card_in(tmp_path, "vlan7")
    found = {c.name: (c.physical, c.usb, c.wifi) for c in mac_candidates(tmp_path)}
    assert found == {
        "enp1s0": (True, False, False),
        "enx9": (True, True, False),
        "wlp2s0": (True, False, True),
        "vlan7": (False, False, False),
    }
    assert choose_mac(mac_candidates(tmp_path)) == bytes.fromhex("3c5282000001")


def test_a_random_address_of_the_desktop_gives_way_to_the_one_burnt_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    burnt_in = bytes.fromhex("3c5282000009")
    monkeypatch.setattr(machine, "_permanent_address", lambda _: burnt_in)
    assert {card.mac for card in mac_candidates(tmp_path)} == {burnt_in}


def test_an_address_reaches_no_log_and_no_device_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        cards = mac_candidates()
        mac = choose_mac(cards) or os.urandom(6)
        made = device_id(bytes(range(32)), "acme-notes", mac)
    written = f"{caplog.text} {cards} {made}".lower()
    for card in cards:
        if any(card.mac):
            assert card.mac.hex() not in written
            assert card.mac.hex(":") not in written
            assert repr(card.mac)[2:-1].lower() not in written


def test_a_card_that_does_not_exist_has_no_permanent_address() -> None:
    assert machine._permanent_address("no-such-card") is None
    assert machine._permanent_address("a-name-that-is-far-too-long-for-a-card") is None
