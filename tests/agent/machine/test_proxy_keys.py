"""A proxy's login: found for that proxy and no other, and never as plain text on disk of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from rings import Ring, absent

from agent.adapters.machine.system_keyring import Keyring
from agent.adapters.roads.proxy_keys import ProxyKeys, credential_name
from agent.adapters.roads.proxy_login import Login
from tracking.errors import SecretFault, SettingsFault

PLACE = "proxy.example:3128"
ME = Login("me", "sesame:and more")


def with_ring(ring: Ring, **given: object) -> ProxyKeys:
    return ProxyKeys(keyring=Keyring(find=lambda: ring), env={}, **given)  # type: ignore[arg-type]


def test_a_login_is_found_for_the_proxy_it_was_given_for_and_no_other() -> None:
    ring = Ring()
    keys = with_ring(ring)
    assert keys.find(PLACE) is None
    assert keys.keep(PLACE, ME) == ("keyring", "")
    assert ring.entries["homing:proxy:proxy.example:3128", "login"] == "me:sesame:and more"
    assert with_ring(ring).find(PLACE) == ME
    for elsewhere in ("proxy.example:8080", "evil.example:3128", "proxy.example"):
        assert keys.find(elsewhere) is None
    assert keys.forget(PLACE)
    assert not keys.forget(PLACE)
    assert keys.find(PLACE) is None
    assert ring.entries == {}, "nor is the list of them left"


def test_every_login_can_be_forgotten_although_a_keyring_cannot_be_asked_for_all() -> None:
    ring = Ring()
    keys = with_ring(ring)
    for place in (PLACE, "other.example:1"):
        keys.keep(place, ME)
    keys.forget("never.example:1")
    assert sorted(with_ring(ring).forget_all()) == ["other.example:1", PLACE]
    assert ring.entries == {}
    assert with_ring(ring).forget_all() == []


def test_without_a_keyring_it_is_in_memory_only_and_that_is_said() -> None:
    keys = ProxyKeys(keyring=Keyring(find=absent), env={})
    kept = keys.keep(PLACE, ME)
    assert kept.where == "memory (until it stops)"
    assert "network.proxy_login_file" in kept.notice
    assert keys.find(PLACE) == ME
    assert ProxyKeys(keyring=Keyring(find=absent), env={}).find(PLACE) is None
    assert keys.forget_all() == [PLACE]
    assert keys.find(PLACE) is None


def test_a_file_and_a_credential_come_before_the_keyring(tmp_path: Path) -> None:
    ring = Ring()
    file = tmp_path / "login"
    file.write_text("filed:one\n")
    file.chmod(0o600)
    credential = tmp_path / credential_name(PLACE)
    credential.write_text("lent:two")
    credential.chmod(0o400)
    with_ring(ring).keep(PLACE, ME)
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    lent = ProxyKeys(keyring=Keyring(find=lambda: ring), env=env)
    assert lent.find(PLACE) == Login("lent", "two")
    assert lent.find("other.example:1") is None
    assert ProxyKeys(file=file, env=env).find(PLACE) == Login("filed", "one")


@pytest.mark.parametrize("text", ["", "no colon", ":password alone", "two:lines\nof it", "\0:x"])
def test_a_file_that_holds_no_login_is_a_fault_that_does_not_show_it(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "login"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(SecretFault, match="holds no login") as caught:
        ProxyKeys(file=file, env={}).find(PLACE)
    assert "password" not in str(caught.value).replace("user:password", "")


def test_a_file_that_everybody_may_read_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_text("me:sesame")
    file.chmod(0o666)
    with pytest.raises(SecretFault):
        ProxyKeys(file=file, env={}).find(PLACE)


@pytest.mark.parametrize("login", [Login("", "p"), Login("a:b", "p"), Login("me", "p\r\nX: y")])
def test_what_no_header_can_carry_is_refused(login: Login) -> None:
    with pytest.raises(SettingsFault):
        with_ring(Ring()).keep(PLACE, login)
    assert "p" not in repr(Login("me", "p")).removeprefix("Login(user=")
