"""Tokens: found for the origin they were saved for and no other, wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rings import HOST, Ring, absent

from agent.adapters.machine.secrets import Secrets, credential_name, token_entry
from agent.adapters.machine.system_keyring import Keyring
from tracking.errors import SecretFault, SettingsFault


def test_a_token_is_found_for_the_origin_it_was_saved_for_and_no_other(
    with_ring: Secrets, ring: Ring
) -> None:
    assert with_ring.keep_token(HOST, "notes", "dat1_canary") == ("keyring", "")
    assert ring.entries == {("homing:data:https://stats.example.org:443", "notes"): "dat1_canary"}
    found = with_ring.token("HTTPS://Stats.Example.org:443/", "notes")
    assert found is not None
    assert found.text == "dat1_canary"
    for elsewhere in (
        "https://evil.example.org",
        "https://stats.example.org.evil.tld",
        "https://stats.example.org:8443",
        "http://127.0.0.1:443",
    ):
        assert with_ring.token(elsewhere, "notes") is None
    assert with_ring.token(HOST, "paint") is None


def test_without_a_keyring_a_token_is_in_memory_only_and_that_is_said(
    without: Callable[[], Secrets], state: Path
) -> None:
    secrets = without()
    kept = secrets.keep_token(HOST, "notes", "dat1_canary")
    assert kept.where == "memory (until it stops)"
    assert "forgotten when the agent stops" in kept.notice
    found = secrets.token(HOST, "notes")
    assert found is not None
    assert found.text == "dat1_canary"
    assert without().token(HOST, "notes") is None, "a new start has forgotten it"
    assert not [p for p in state.rglob("*") if p.is_file() and b"canary" in p.read_bytes()]


def test_a_file_that_the_settings_name_comes_before_the_keyring(
    with_ring: Secrets, state: Path
) -> None:
    with_ring.keep_token(HOST, "notes", "from the keyring")
    file = state / "token"
    file.write_text("dat1_file\n")
    file.chmod(0o640)
    found = with_ring.token(HOST, "notes", file=file)
    assert found is not None
    assert (found.text, found.kept) == ("dat1_file", ("file you named", ""))
    file.write_text("two words\nand two lines")
    with pytest.raises(SecretFault, match="holds no token"):
        with_ring.token(HOST, "notes", file=file)
    file.unlink()
    with pytest.raises(SecretFault, match="does not exist"):
        with_ring.token(HOST, "notes", file=file)


def test_a_systemd_credential_is_bound_to_its_origin_too(state: Path) -> None:
    folder = state / "credentials"
    folder.mkdir()
    (folder / "homing-data-https-stats.example.org-443").write_text("for all")
    (folder / "homing-data-https-stats.example.org-443-notes").write_text("dat1_notes")
    for file in folder.iterdir():
        file.chmod(0o400)
    secrets = Secrets(
        key_file=state / "device.key",
        env={"CREDENTIALS_DIRECTORY": str(folder)},
        keyring=Keyring(find=absent),
    )
    found = secrets.token(HOST, "notes")
    assert found is not None
    assert (found.text, found.kept.where) == ("dat1_notes", "systemd credential")
    assert secrets.token("https://evil.example.org", "notes") is None
    with pytest.raises(SecretFault, match="holds no token"):
        secrets.token(HOST, "paint")  # its file holds two words
    (state / "outside").write_text("not_yours")
    (folder / "homing-data-https-other.example.org-443-").mkdir()
    assert secrets.token("https://other.example.org", "/../../outside") is None


def test_a_token_is_forgotten_wherever_it_is(
    with_ring: Secrets, without: Callable[[], Secrets]
) -> None:
    for secrets in (with_ring, without()):
        secrets.keep_token(HOST, "notes", "dat1_canary")
        assert secrets.forget_token(HOST, "notes")
        assert not secrets.forget_token(HOST, "notes")
        assert secrets.token(HOST, "notes") is None


@pytest.mark.parametrize("origin", ["http://10.0.0.1", "https://a:b@c", "ftp://x", "https://", ""])
def test_there_is_no_entry_for_what_is_no_origin(origin: str) -> None:
    with pytest.raises(SettingsFault):
        token_entry("homing", origin)


def test_entries_name_the_port_even_where_an_address_does_not() -> None:
    assert token_entry("homing", "https://a.b") == "homing:data:https://a.b:443"
    assert token_entry("homing", "http://[::1]:7780") == "homing:data:http://[::1]:7780"
    assert credential_name("http://[::1]:7780") == "homing-data-http-__1-7780"


def test_a_bucket_key_and_a_data_token_of_one_origin_are_two_secrets(
    with_ring: Secrets, ring: Ring, state: Path
) -> None:
    with_ring.keep_token(HOST, "notes", "dat1_canary")
    with_ring.keep_token(f"{HOST}/base", "notes", "trKEY", what="bucket")
    assert ring.entries["homing:bucket:https://stats.example.org:443", "notes"] == "trKEY"
    data, key = with_ring.token(HOST, "notes"), with_ring.token(HOST, "notes", what="bucket")
    assert data is not None
    assert key is not None
    assert (data.text, key.text) == ("dat1_canary", "trKEY")
    assert with_ring.token("https://evil.example.org", "notes", what="bucket") is None
    with pytest.raises(SecretFault, match="which key_file names"):
        with_ring.token(HOST, "notes", file=state / "none", what="bucket")
    assert with_ring.forget_token(HOST, "notes", what="bucket")
    assert with_ring.token(HOST, "notes", what="bucket") is None
    assert with_ring.token(HOST, "notes") is not None
