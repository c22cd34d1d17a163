"""Countries: from the operator's file, by an address that is forgotten."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from collectors import Collector, command

from collector.intake.geoip import Countries
from tracking.errors import SettingsFault

Run = Callable[..., Collector]
MARKER = b"\xab\xcd\xefMaxMind.com"


def encoded(value: object) -> bytes:
    """Write a value of an MMDB data section (MaxMind DB specification 2.0)."""
    match value:
        case str():
            raw = value.encode()
            return _head(2, len(raw)) + raw
        case int():
            raw = value.to_bytes(8, "big").lstrip(b"\0")
            return _head(9, len(raw)) + raw  # uint64: shorter ones are the same number
        case dict():
            pairs = b"".join(encoded(k) + encoded(v) for k, v in value.items())
            return _head(7, len(value)) + pairs
        case list():
            return _head(11, len(value)) + b"".join(map(encoded, value))
    raise TypeError(value)


def _head(kind: int, size: int) -> bytes:
    assert size < 29
    return bytes([(kind << 5) | size]) if kind < 8 else bytes([size, kind - 7])


def mmdb(path: Path, networks: Mapping[str, object], version: int = 6) -> Path:
    """Write a database of these networks; IPv4 ones lie under ::/96, as in the real ones."""
    tree: list[list[int | None]] = [[None, None]]
    data, offsets = b"", []
    for written, value in networks.items():
        network = ipaddress.ip_network(written)
        bits = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
        if version == 6 and network.version == 4:
            bits = "0" * 96 + bits
        node = 0
        for bit in bits[:-1]:
            following = tree[node][int(bit)]
            if following is None:
                tree.append([None, None])
                following = tree[node][int(bit)] = len(tree) - 1
            node = following
        offsets.append((node, int(bits[-1]), len(data)))
        data += encoded(value)
    count = len(tree)
    records = [[count if r is None else r for r in node] for node in tree]
    for node, side, offset in offsets:
        records[node][side] = count + 16 + offset
    body = b"".join(r.to_bytes(3, "big") for node in records for r in node)
    about = {
        "node_count": count,
        "record_size": 24,
        "ip_version": version,
        "database_type": "Test-Country",
        "languages": ["en"],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1,
        "description": {"en": "test"},
    }
    whole = path.with_suffix(".new")
    whole.write_bytes(body + b"\0" * 16 + data + MARKER + encoded(about))
    whole.replace(path)
    return path


def country(code: str) -> dict[str, object]:
    return {"country": {"iso_code": code, "names": {"en": "x"}}}


def test_the_country_of_an_address(tmp_path: Path) -> None:
    said = {
        "198.51.100.0/24": country("DE"),
        "203.0.113.0/24": {"country": "AT"},
        "192.0.2.0/24": {"country_code": "CH"},
        "2001:db8::/32": country("FR"),
        "10.0.0.0/8": {"continent": {"code": "EU"}},
        "172.16.0.0/12": country("de"),
        "100.64.0.0/10": "rubbish",
    }
    countries = Countries(mmdb(tmp_path / "geo.mmdb", said))
    known = {
        "198.51.100.7": "DE",
        "::ffff:198.51.100.7": "",  # peers come unmapped (collector.entrance)
        "203.0.113.1": "AT",
        "192.0.2.1": "CH",
        "2001:db8::1": "FR",
        "2001:db8::1%eth0": "FR",
        "2001:db9::1": "",
        "10.1.1.1": "",
        "172.16.0.1": "",
        "100.64.0.1": "",
        "127.0.0.1": "",
        "": "",
        "pid:17": "",
        "not an address": "",
    }
    assert {peer: countries.of(peer) for peer in known} == known


def test_a_file_without_ipv6_knows_nothing_of_it(tmp_path: Path) -> None:
    countries = Countries(mmdb(tmp_path / "geo.mmdb", {"198.51.100.0/24": country("DE")}, 4))
    assert countries.of("198.51.100.1") == "DE"
    assert countries.of("2001:db8::1") == ""


def test_a_file_that_changes_is_read_anew_and_a_broken_one_is_not(
    tmp_path: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("collector.intake.geoip")
    path = mmdb(tmp_path / "geo.mmdb", {"198.51.100.0/24": country("DE")})
    countries = Countries(path)
    assert not countries.refresh()
    mmdb(path, {"198.51.100.0/24": country("FR")})
    assert countries.of("198.51.100.1") == "DE"
    assert countries.refresh()
    assert countries.of("198.51.100.1") == "FR"
    path.write_bytes(b"broken")  # in place, under the reader's feet
    assert not countries.refresh()
    assert not countries.refresh()
    path.unlink()
    assert not countries.refresh()
    assert countries.of("198.51.100.1") == "FR"
    mmdb(path, {"198.51.100.0/24": country("IT")})
    assert countries.refresh()
    assert countries.of("198.51.100.1") == "IT"


@pytest.mark.parametrize("content", [None, b"", b"no database", MARKER, MARKER + b"\xe0"])
def test_what_is_no_database_is_refused_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "geo.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsFault, match="geoip_file"):
        Countries(path)
    done = command("serve", "--geoip-file", str(path), folder=tmp_path / "data")
    assert done.returncode == 78
    assert "geoip_file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_file_is_refused_or_knows_less_and_never_raises(tmp_path: Path) -> None:
    whole = mmdb(tmp_path / "geo.mmdb", {"198.51.100.0/24": country("DE")}).read_bytes()
    chance = random.Random(61)
    path, opened = tmp_path / "damaged.mmdb", 0
    for _ in range(400):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        path.write_bytes(raw[: chance.choice([len(raw), chance.randrange(len(raw))])])
        with contextlib.suppress(SettingsFault):
            countries = Countries(path)
            opened += 1
            for peer in ("198.51.100.1", "2001:db8::1", "0.0.0.0", "255.255.255.255"):
                assert len(countries.of(peer)) in (0, 2)
    assert 20 < opened < 400


def test_events_are_stored_with_the_country_and_never_with_the_address(
    run: Run, tmp_path: Path
) -> None:
    path = mmdb(tmp_path / "geo.mmdb", {"198.51.100.0/24": country("DE")})
    far_end = run("--geoip-file", str(path), "--trusted-proxies", "127.0.0.1")
    far_end.app("A")
    address = "198.51.100.213"
    for n, peer in enumerate((address, "203.0.113.99")):
        body = {"data": [{"name": "E", "id": n, "machineId": "m"}]}
        assert far_end.request("POST", "/app/A/track", body, {"X-Forwarded-For": peer})[0] == 200
    ws = far_end.ws(header={"X-Forwarded-For": address})
    ws.send(json.dumps({"data": [{"name": "E", "id": 2, "machineId": "m"}]}))
    assert json.loads(ws.recv())["reportedIds"] == [2]
    assert [e.get("country") for e in far_end.export()] == ["DE", None, "DE"]
    assert far_end.stop() == 0
    files = [file for file in far_end.folder.path.parent.rglob("*") if file.is_file()]
    assert len(files) > 4
    for file in files:
        assert address.encode() not in file.read_bytes(), file
        assert b"203.0.113.99" not in file.read_bytes(), file


def test_without_a_file_there_are_no_countries(run: Run) -> None:
    far_end = run()
    far_end.app("A")
    far_end.say({"data": [{"name": "E", "id": 1, "machineId": "m"}]})
    assert "country" not in far_end.export()[0]
    assert os.environ.get("HOMING_COLLECTOR_GEOIP_FILE") is None
