"""`network` and `doctor network`: what is printed, what is asked, what scripts are promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.adapters.machine.places import Places
from agent.door.network import (
    ForgetProxyLogin,
    Hop,
    Host,
    Hosts,
    KeepProxyLogin,
    LoginKept,
    NetworkState,
    SendAnyway,
    ShowHosts,
    ShowNetwork,
    Walk,
    Walked,
    WalkNetwork,
    WayOut,
)

STATE = NetworkState(
    ways=(
        WayOut(
            app_id="acme",
            upstream="nucleus",
            endpoint="wss://far.example",
            by="proxy proxy.example:3128, named by https_proxy",
            login=True,
            held=1200,
        ),
    ),
    metered=True,
    plugged=False,
    percent=12.4,
    causes=("metered", "battery"),
    watching=True,
)


def walk(failed: str = "") -> Walked:
    hops = [
        Hop(name="dns", verdict="ok", evidence="far.example is 10.9.9.9", took_ms=3.4),
        Hop(name="proxy", verdict="ok", evidence="direct"),
    ]
    if failed:
        hops.append(
            Hop(
                name=failed,
                verdict="error",
                evidence="nobody\x1b[2J answers",
                code="link.unreachable.silent",
                repair="Ask for port 443.",
            )
        )
        hops.append(Hop(name="tls", verdict="skipped", evidence=f"behind the failed {failed}"))
    return Walked(
        walks=(
            Walk(
                app_id="acme",
                upstream="nucleus",
                endpoint="wss://far.example",
                hops=tuple(hops),
                failed=failed,
            ),
        )
    )


def test_the_state_is_shown_with_each_cause_by_itself(desk: Any) -> None:
    desk.door.answers[ShowNetwork] = STATE
    assert desk.run("network") == 0
    assert "proxy proxy.example:3128, named by https_proxy" in desk.said
    assert "Metered: yes. Battery: 12 %, on the mains: no." in desk.said
    assert "waits: the connection is metered.\n" in desk.said
    assert "waits: the battery is low.\n" in desk.said
    assert desk.run("network", "show", "--json") == 0
    assert json.loads(desk.said)["ways"][0]["held"] == 1200


def test_the_hosts_are_listed_with_what_they_are_for(desk: Any) -> None:
    desk.door.answers[ShowHosts] = Hosts(
        hosts=(Host(host="far.example", port=443, purpose="events of acme"),)
    )
    assert desk.run("network", "hosts") == 0
    assert desk.said == "HOST         PORT  FOR\nfar.example  443   events of acme\n"
    assert desk.run("network", "hosts", "--json") == 0
    assert json.loads(desk.said)["hosts"][0]["host"] == "far.example"
    desk.door.answers[ShowHosts] = Hosts(hosts=())
    assert desk.run("network", "hosts") == 0
    assert desk.said == "No host: nothing leaves this computer.\n"


def test_everything_is_sent_for_a_while(desk: Any) -> None:
    desk.door.answers[SendAnyway] = NetworkState(override_until_ms=1)
    assert desk.run("network", "override", "--for", "90m") == 0
    assert "sent anyway" in desk.said
    assert desk.run("network", "override", "--off") == 0
    spans = [words[0].for_s for what, words in desk.door.asked if what == "SendAnyway"]
    assert spans == [5400.0, 0.0]


def test_a_login_is_read_and_never_printed(desk: Any) -> None:
    desk.door.answers[KeepProxyLogin] = LoginKept(proxy="proxy.example:3128", kept_in="keyring")
    desk.inward.write("sesame: 7\n")
    desk.inward.seek(0)
    assert desk.run("network", "proxy-login", "--user", "me") == 0
    assert desk.said == "The login for proxy.example:3128 is kept in: keyring.\n"
    ((_, (asked,)),) = desk.door.asked
    assert (asked.user, asked.password, asked.proxy) == ("me", "sesame: 7", "")
    assert "sesame" not in repr(asked) + desk.said + desk.complained


def test_a_login_in_memory_is_said_to_be_one(desk: Any) -> None:
    kept = LoginKept(proxy="p:1", kept_in="memory (until it stops)", notice="It is forgotten.")
    desk.door.answers[KeepProxyLogin] = kept
    assert desk.run("network", "proxy-login", "--user", "me", "--proxy", "p:1") == 0
    assert "It is forgotten." in desk.complained


def test_without_a_terminal_the_name_has_to_be_said(desk: Any) -> None:
    assert desk.run("network", "proxy-login") == 64
    assert "--user NAME" in desk.complained


def test_a_login_is_forgotten(desk: Any) -> None:
    desk.door.answers[ForgetProxyLogin] = LoginKept(proxy="p:1", kept_in="")
    assert desk.run("network", "proxy-logout") == 0
    assert desk.said == "The login for p:1 is deleted.\n"
    desk.door.answers[ForgetProxyLogin] = LoginKept(proxy="p:1", kept_in="", notice="no login")
    assert desk.run("network", "proxy-logout", "--json") == 1


def test_the_walk_names_the_hop_and_the_repair_and_the_exit_code_says_it(desk: Any) -> None:
    desk.door.answers[WalkNetwork] = walk()
    assert desk.run("doctor", "network") == 0
    assert "Every hop is well." in desk.said
    desk.door.answers[WalkNetwork] = walk("tcp")
    assert desk.run("doctor", "network", "--app", "acme") == 1
    assert "  ERROR   tcp             nobody" in desk.said
    assert "\x1b" not in desk.said
    assert "Ask for port 443." in desk.said
    assert "The first hop that fails: tcp" in desk.said
    assert desk.door.asked[-1][1][0].app_id == "acme"
    assert desk.run("doctor", "network", "--json") == 1
    assert json.loads(desk.said)["walks"][0]["failed"] == "tcp"


@pytest.fixture
def alone(desk: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A desk without an agent or a keyring, with settings."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    desk.door = None

    def write(settings: str) -> Any:
        file = Places.find({"HOMING_HOME": str(desk.home)}).settings_file
        file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        file.write_text(settings, "utf-8")
        return desk

    return write


APP = '[[apps]]\nid = "acme"\n[[apps.upstreams]]\nkind = "nucleus"\nendpoint = "{}"\n'


def test_without_an_agent_the_settings_are_asked(alone: Callable[[str], Any]) -> None:
    here = alone(APP.format("wss://far.example:8443"))
    assert here.run("network", "hosts") == 0
    assert "far.example  8443  events of acme" in here.said
    assert here.run("network") == 69
    nobody = alone(APP.format("ws://127.0.0.1:9"))
    assert nobody.run("doctor", "network", "--json") == 1
    (one,) = json.loads(nobody.said)["walks"]
    assert one["failed"] == "tcp"
    found = {hop["name"]: hop for hop in one["hops"]}
    assert found["tcp"]["evidence"] == "connection refused (127.0.0.1 port 9)"
    assert found["tls"]["verdict"] == "skipped"
    assert list(found) == [
        "settings",
        "route",
        "dns",
        "proxy",
        "connect",
        "tcp",
        "tls",
        "websocket",
        "http",
        "acknowledgement",
    ]


def test_without_an_agent_or_a_far_end_there_is_nothing_to_walk(
    alone: Callable[[str], Any],
) -> None:
    here = alone("")
    assert here.run("doctor", "network") == 0
    assert "No app has a far end." in here.said


def test_without_agent_and_keyring_a_login_cannot_be_kept(alone: Callable[[str], Any]) -> None:
    here = alone('[network]\nproxy = "http://proxy.example:3128"\n' + APP.format("wss://f.example"))
    here.inward.write("sesame\n")
    here.inward.seek(0)
    assert here.run("network", "proxy-login", "--user", "me") == 64
    assert "network.proxy_login_file" in here.complained
    assert here.run("network", "proxy-logout") == 1
    direct = alone('[network]\nproxy = "none"\n' + APP.format("wss://f.example"))
    assert direct.run("network", "proxy-logout") == 64
    assert "no proxy is on the way" in direct.complained
