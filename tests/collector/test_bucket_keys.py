"""Keys of the Bucket API: which app they open, and that a thief of the file opens none."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
from collectors import NOW, command

from collector.access.accounts import Accounts
from tracking.errors import RequestFault


def made(folder: Path, *words: str) -> dict[str, str]:
    done = command(*words, folder=folder)
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout)
    return said


def test_each_kind_of_key_opens_its_app_where_it_may_stand(tmp_path: Path) -> None:
    said = made(tmp_path / "c", "app", "add", "Acme", "--id", "acme")
    made(tmp_path / "c", "app", "add", "Other", "--id", "other")
    assert len(said["secretKey"]) > 22  # or official clients throw
    with contextlib.closing(Accounts(tmp_path / "c" / "accounts.db")) as accounts:
        opens = {
            (kind, name)
            for kind in ("path", "bearer", "publishable")
            for name in ("trackingKey", "secretKey", "publishableKey", "appId")
            if accounts.app_of_key(kind, said[name]) == "acme"
        }
    assert opens == {
        ("path", "trackingKey"),
        ("bearer", "secretKey"),
        ("bearer", "publishableKey"),
        ("publishable", "publishableKey"),
    }


def test_a_secret_key_is_shown_once_and_a_new_one_voids_it(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    first = made(folder, "app", "add", "Acme", "--id", "acme")
    again = made(folder, "app", "add", "Acme", "--id", "acme", "--if-missing")
    assert again == {key: text for key, text in first.items() if key != "secretKey"}
    assert made(folder, "app", "list") == again
    second = made(folder, "app", "secret", "acme")
    with contextlib.closing(Accounts(folder / "accounts.db")) as accounts:
        assert accounts.app_of_key("bearer", first["secretKey"]) is None
        assert accounts.app_of_key("bearer", second["secretKey"]) == "acme"
    assert command("app", "secret", "nobody", folder=folder).returncode == 64


def test_threat_50_the_file_does_not_have_the_secret_key(tmp_path: Path) -> None:
    said = made(tmp_path / "c", "app", "add", "Acme", "--id", "acme")
    files = [path.read_bytes() for path in (tmp_path / "c").glob("accounts.db*")]
    assert any(said["publishableKey"].encode() in content for content in files)
    for content in files:
        assert said["secretKey"].encode() not in content
        assert said["secretKey"].removeprefix("sec_").encode() not in content


def test_a_removed_app_leaves_no_key_and_an_older_file_gets_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE app (app_id TEXT PRIMARY KEY, name TEXT NOT NULL,"
            " tracking_key TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL)"
        )
        db.execute("INSERT INTO app VALUES ('old', 'Old', 'trKey', 1)")
    with contextlib.closing(Accounts(path)) as accounts:
        assert accounts.app_of_key("path", "trKey") == "old"
        public = accounts.publishable_key("old")
        assert accounts.publishable_key("old") == public
        secret = accounts.new_secret_key("old", NOW, replace=False) or ""
        assert accounts.new_secret_key("old", NOW, replace=False) is None
        assert accounts.app_of_key("bearer", secret) == "old"
        assert accounts.remove_app("old")
        for kind, text in (("path", "trKey"), ("bearer", secret), ("bearer", public)):
            assert accounts.app_of_key(kind, text) is None
        with pytest.raises(RequestFault):
            accounts.new_secret_key("old", NOW)
