"""Networks as they are: each ends in its named state, and in delivery once the road is open.

A real agent, a real collector, real TLS, Debian's tinyproxy, in namespaces of their own (lab.py);
needs root. The sweep with every default in force is ``soak``.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab import FAR, THERE, Lab, tinyproxy
from spaces import Sniffer

from benchmarks.processes import HOMING, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

SENT_AWAY = (
    b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login?from=far\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
    b"<!doctype html><html><body><form action=/accept><button>I agree</button></form></body></html>"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from far_ends import Authority, certificate_for, name_of

    key = ec.generate_private_key(ec.SECP256R1())
    name = ("homing lab authority",)
    certificate = certificate_for(name, key, name_of(name[0]), key, days=(-2, 60), authority=True)
    made = Authority(tmp_path_factory.mktemp("authority"), key, certificate)
    made.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return made


@pytest.fixture(scope="module")
def world(authority: Any) -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="hn-"))
    made = Lab(folder, authority)
    try:
        made.start_far()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


@pytest.fixture
def lab(world: Lab) -> Iterator[Lab]:
    yield world
    world.reset()


@contextmanager
def proxy(lab: Lab, login: str = "") -> Iterator[str]:
    running = tinyproxy(lab, login)
    try:
        yield next(running)
    finally:
        next(running, None)


def doctor(agent: Any) -> Any:
    """Return the one way out, walked."""
    (walk,) = agent.look("network/walk")["walks"]
    return walk


def test_a_proxy_is_gone_through_and_a_login_is_asked_for_kept_and_used(lab: Lab) -> None:
    with proxy(lab, "me:sesame-7") as address, closing(Sniffer(lab.world, "v1")) as sniffer:
        agent = lab.agent(env={"https_proxy": address})
        agent.report()
        assert agent.named("link.proxy_login") < 15
        assert agent.link()["state"] == "parked", "a password repeated locks an account"
        assert "wants a name and a password" in agent.link()["reason"]

        agent.ask("network/login", user="me", password="wrong")
        until(
            lambda: "refused the login" in agent.link()["reason"],
            10,
            f"not refused: {agent.link()}",
        )

        kept = agent.ask("network/login", user="me", password="sesame-7")
        assert kept["proxy"] == f"{THERE}:3128"
        assert kept["kept_in"] == "memory (until it stops)", "no keyring here, and nothing on disk"
        assert agent.delivered(2) < 10
        (way,) = agent.look("network")["ways"]
        assert (way["login"], way["by"]) == (True, f"proxy {THERE}:3128, named by https_proxy")
        assert ("tcp", FAR, 443) not in sniffer.seen, "nothing goes past the proxy"
        for file in agent.home.rglob("*"):
            assert not file.is_file() or b"sesame-7" not in file.read_bytes(), file


def test_the_proxies_of_a_script_are_tried_in_turn_and_the_doctor_shows_every_hop(lab: Lab) -> None:
    script = lab.folder / "proxy.pac"
    script.write_text(
        "function FindProxyForURL(url, host) {"
        f' return host === "far.example" ? "PROXY {THERE}:9; PROXY {THERE}:3128" : "DIRECT"; }}'
    )
    with proxy(lab):
        agent = lab.agent(f'[network]\npac = "{script}"\n')
        agent.report()
        assert agent.delivered(2) < 10
        walk = doctor(agent)
        assert walk["failed"] == ""
        seen = {hop["name"]: hop["verdict"] for hop in walk["hops"]}
        assert seen == {
            "settings": "ok",
            "route": "ok",
            "dns": "skipped",
            "proxy": "ok",
            "connect": "ok",
            "tcp": "skipped",
            "tls": "ok",
            "websocket": "ok",
            "http": "ok",
            "acknowledgement": "ok",
        }
    agent.report()
    assert agent.named("link.unreachable.proxy") < 15
    assert doctor(agent)["failed"] == "connect"


def bad_contexts(lab: Lab) -> dict[str, tuple[ssl.SSLContext, str]]:
    old = lab.authority.server(("far.example",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    stranger = type(lab.authority)(lab.folder, lab.authority.key, lab.authority.certificate)
    return {
        "self-signed": (stranger.server(("far.example",), self_signed=True), "self-signed"),
        "another name": (stranger.server(("near.example",)), "mismatch"),
        "expired": (stranger.server(("far.example",), days=(-9, -1)), "expired"),
        "not yet": (stranger.server(("far.example",), days=(3, 9)), "not yet valid"),
        "TLS 1.1": (old, "TLS too old"),
    }


def test_every_kind_of_bad_certificate_is_an_identity_not_proven(lab: Lab) -> None:
    agent = lab.agent()
    agent.delivered(0)
    until(lambda: agent.link()["state"] == "live", 10, "not live")
    agent.report()
    agent.delivered(2)
    for kind, (context, said) in bad_contexts(lab).items():
        lab.context = context
        agent.ask("pause", for_s=None, reason="between two certificates")
        agent.ask("resume")
        until(lambda: agent.link()["state"] == "waiting", 15, f"{kind}: {agent.link()}")
        link = agent.link()
        assert link["code"] == "link.unproven", (kind, link)
        assert said in link["reason"], (kind, link)
        assert "Not sent: the far end did not prove who it is" in agent.status()["sentence"]["text"]
    walk = doctor(agent)
    assert walk["failed"] == "tls"
    lab.context = lab.good
    agent.report()
    agent.ask("retry")
    assert agent.delivered(3) < 10


def test_an_unknown_authority_is_named_with_the_setting_that_helps(lab: Lab) -> None:
    agent = lab.agent(env={"HOMING_LINK_CA_FILE": ""})
    agent.report()
    assert agent.named("link.unproven") < 15
    hop = next(hop for hop in doctor(agent)["hops"] if hop["verdict"] == "error")
    assert hop["name"] == "tls"
    assert "link.ca_file" in hop["repair"]


@pytest.mark.parametrize(
    "page", [SENT_AWAY, pytest.param(PAGE, marks=pytest.mark.soak)], ids=["302", "200 HTML"]
)
def test_a_portal_is_told_from_an_outage_and_delivery_follows_the_sign_in(
    lab: Lab, page: bytes
) -> None:
    lab.portal(page)
    agent = lab.agent()
    agent.report()
    assert agent.named("link.portal") < 15
    assert lab.http.accepted == 1
    asked = [one for one in agent.look("wire/read")["entries"] if one["kind"] == "portal"]
    assert [one["direction"] for one in asked] == ["received", "sent"], "newest first"
    assert asked[1]["text"].startswith("GET / HTTP/1.1"), "and nothing of ours in it"
    lab.sign_in()
    assert agent.delivered(2) < 10
    assert lab.resolver.asked
    assert set(lab.resolver.asked) == {"far.example"}, "never a vendor's probe host"


def test_a_portal_is_not_looked_for_where_a_person_switched_that_off(lab: Lab) -> None:
    lab.portal(SENT_AWAY)
    agent = lab.agent('[network]\nportal_check = "off"\n')
    agent.report()
    assert agent.named("link.unproven") < 15
    assert lab.http.accepted == 0


def test_a_black_hole_is_named_and_its_end_is_noticed_with_the_network(lab: Lab) -> None:
    lab.blackhole(on=True)
    agent = lab.agent("dial_deadline_s = 4\n")
    agent.report()
    assert agent.named("link.unreachable.silent") < 15
    lab.disconnect()
    lab.blackhole(on=False)
    lab.connect()
    assert agent.delivered(2) < 10


def test_an_ipv6_that_leads_nowhere_costs_a_moment_and_not_the_dial(lab: Lab) -> None:
    lab.connect_six()
    with closing(Sniffer(lab.world, "v1")) as sniffer:
        agent = lab.agent()
        agent.report()
        assert agent.delivered(2) < 3
    assert ("ether 0x86dd", "", 0) in sniffer.seen, "it was tried"
    names = next(hop for hop in doctor(agent)["hops"] if hop["name"] == "dns")
    assert names["evidence"] == "far.example is fd99::1, 10.99.0.1"


def test_a_name_that_nobody_knows_is_a_state_of_its_own_and_so_is_no_network(lab: Lab) -> None:
    lab.resolver.names.clear()
    agent = lab.agent()
    agent.report()
    assert agent.named("link.unreachable.name") < 15
    assert doctor(agent)["failed"] == "dns"
    lab.disconnect()
    until(lambda: doctor(agent)["failed"] == "route", 5, "not the route")
    lab.resolver.names["far.example"] = FAR
    lab.connect()
    assert agent.delivered(2) < 10


def test_a_live_link_whose_network_went_is_on_the_new_one_within_ten_seconds(lab: Lab) -> None:
    agent = lab.agent()
    agent.report()
    agent.delivered(2)
    lab.disconnect()
    agent.report("while away")
    time.sleep(1.0)
    lab.connect()
    assert agent.delivered(3) < 10


def test_nothing_leaves_for_a_host_that_is_not_on_the_list(lab: Lab) -> None:
    """The list of every host, held against the resolver and the wire, failures included."""
    sniffer = Sniffer(lab.world, "v1")
    with closing(sniffer):
        agent = lab.agent(
            '[[apps]]\nid = "other"\n[[apps.upstreams]]\nkind = "nucleus"\n'
            'endpoint = "wss://gone.example"\ndata_api = "https://data.example"\n'
        )
        agent.report()
        agent.delivered(2)
        doctor_of = agent.look("network/walk?app_id=other")
        assert doctor_of["walks"][0]["failed"] == "dns"
        lab.portal(SENT_AWAY)  # and what a portal says leads nowhere either
        agent.ask("retry")
        agent.ask("pause", for_s=None, reason="to hang up")
        agent.ask("resume")
        assert agent.named("link.portal") < 15
        listed = {one["host"] for one in agent.look("network/hosts")["hosts"]}
        agent.stop()
    assert listed == {"far.example", "gone.example", "data.example"}
    asked = set(lab.resolver.asked)
    assert {"far.example", "gone.example"} <= asked <= listed
    allowed = {("udp", THERE, 53), ("tcp", FAR, 443), ("tcp", FAR, 80)}
    assert {one for one in sniffer.seen if not one[0].startswith("ether")} == allowed
    assert {one for one in sniffer.seen if one[0].startswith("ether")} <= {("ether 0x0806", "", 0)}


def test_the_doctor_walks_without_an_agent_too(lab: Lab) -> None:
    agent = lab.agent()
    agent.report()
    agent.delivered(2)
    agent.stop()
    words = [*agent.words[: agent.words.index("-m", 6)], *HOMING[1:], "doctor", "network"]
    began = time.monotonic()
    done = subprocess.run(
        words, env=agent.env, capture_output=True, text=True, timeout=30, check=False
    )
    assert time.monotonic() - began < 20
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every hop is well." in done.stdout
    lab.tls.close()
    done = subprocess.run(
        words, env=agent.env, capture_output=True, text=True, timeout=30, check=False
    )
    lab.open_door()
    assert done.returncode == 1
    assert "The first hop that fails: tcp" in done.stdout


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [3.0, 12.0, 25.0])
def test_a_black_hole_with_every_default_ends_in_delivery_though_nothing_tells(
    lab: Lab, seconds: float
) -> None:
    """No change of this computer's own network: only dialing again finds the road open."""
    lab.blackhole(on=True)
    agent = lab.agent()
    agent.report()
    began = time.monotonic()
    if seconds > 10:
        assert agent.named("link.unreachable.silent") < 15
        assert doctor(agent)["failed"] == "tcp"
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    lab.blackhole(on=False)
    assert agent.delivered(2, 20) < 10


@pytest.mark.soak
def test_a_resolver_that_says_nothing_is_named_and_walked_in_time(lab: Lab) -> None:
    lab.resolver.silent = True
    agent = lab.agent()
    agent.report()
    assert agent.named("link.unreachable.name") < 15
    began = time.monotonic()
    assert doctor(agent)["failed"] == "dns"
    assert time.monotonic() - began < 20
    lab.resolver.silent = False
    assert agent.delivered(2, 20) < 10


@pytest.mark.soak
@pytest.mark.parametrize("stage", ["connect", "tls"])
def test_whoever_accepts_and_says_nothing_is_named_and_walked_in_time(lab: Lab, stage: str) -> None:
    if stage == "connect":
        lab.serve(3128, lambda sock: sock.recv(1) and time.sleep(60), at=THERE)
        agent = lab.agent(f'[network]\nproxy = "http://{THERE}:3128"\n')
        code = "link.unreachable.proxy"
    else:
        lab.door = lambda sock: time.sleep(60)
        agent = lab.agent()
        code = "link.unreachable.silent"
    agent.report()
    assert agent.named(code) < 15
    began = time.monotonic()
    assert doctor(agent)["failed"] == stage
    assert time.monotonic() - began < 20
    if stage == "tls":
        lab.sign_in()
        assert agent.delivered(2, 20) < 10


def test_a_far_end_that_knows_the_other_form_only_is_walked_to_its_end(lab: Lab) -> None:
    """The seed's own path, ``/{appId}/``: the official SDKs' is tried first and refused."""
    lab.door = lab.without_sdk_path
    agent = lab.agent()
    agent.report()
    agent.delivered(2)
    found = {hop["name"]: hop["verdict"] for hop in doctor(agent)["hops"]}
    assert found["websocket"] == "ok"
    assert found["http"] == "warning"
