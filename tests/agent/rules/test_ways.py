"""Which ways out a declared upstream is, and what becomes of each language on them."""

from __future__ import annotations

import pytest

from agent.rules.ways import KINDS, Kind, only_way, over_http, over_websocket, ways_of


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_both_languages_once(kind: Kind) -> None:
    ways = ways_of(name="far", kind=kind, endpoint="https://far.example")
    assert [way.events for way in ways].count("elsewhere") == len(ways) - 1
    assert [way.calls for way in ways].count("elsewhere") == len(ways) - 1
    assert len({way.name for way in ways}) == len(ways)
    assert {way.upstream for way in ways} == {"far"}
    for way in ways:
        assert way.events == "said" if way.language == "nucleus" else way.calls == "said"


def test_a_collector_gets_each_language_on_a_way_of_its_own_at_one_place() -> None:
    nucleus, bucket = ways_of(
        name="mine", kind="homing", endpoint="wss://homing.example/in", key_file="/k"
    )
    assert (nucleus.name, nucleus.language, nucleus.endpoint) == (
        "mine",
        "nucleus",
        "wss://homing.example/in",
    )
    assert (bucket.name, bucket.language, bucket.endpoint, bucket.key_file) == (
        "mine.bucket",
        "bucket",
        "https://homing.example/in",
        "/k",
    )


def test_a_place_is_the_same_over_websocket_and_over_http() -> None:
    for http, ws in (("https://a.b:8", "wss://a.b:8"), ("http://[::1]:7780", "ws://[::1]:7780")):
        assert over_websocket(http) == ws
        assert over_http(ws) == http
        assert (over_http(http), over_websocket(ws)) == (http, ws)


def test_an_app_without_an_upstream_has_one_way_to_nowhere() -> None:
    way = only_way()
    assert (way.name, way.upstream, way.endpoint, way.language) == ("nucleus", "", "", "nucleus")
