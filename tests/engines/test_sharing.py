"""What is true in one collector is true in all: accounts, presence, limits, over a real engine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from collectors import NOW, row
from servers import ClickHouse, until

from collector import sharing
from collector.access.accounts import Accounts
from collector.access.limits import Limiter
from collector.access.shared_accounts import AccountSync
from collector.intake.shared_presence import SharedPresence
from collector.sharing import Sharing
from collector.store.clickhouse import ClickHouseStore
from collector.store.clickhouse_address import Address
from collector.store.clickhouse_shared import Shared
from collector.store.interface import Tombstone
from tracking.events import Event, Kind


class Member:
    """One collector's memory of what all share."""

    def __init__(self, where: Address, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.store = ClickHouseStore(where, old_parts_s=1)
        self.shared = Shared(self.store.door)
        self.accounts = Accounts(folder / "accounts.db")
        self.forgot = 0
        self.sync = AccountSync(folder / "accounts.db", self.shared, self._forget)
        self.presence = SharedPresence(lambda: int(time.time() * 1000), lambda said: said)
        self.limit = Limiter(100.0, 60.0)
        self.erasures = 0
        self.sharing = Sharing(
            self.shared, self.sync, self.presence, [self.limit], self._heard_of_erasure
        )

    def _forget(self) -> None:
        self.forgot += 1
        self.accounts._known.clear()

    async def _heard_of_erasure(self) -> None:
        self.erasures += 1

    def turn(self) -> None:
        asyncio.run(self.sharing.turn())

    def close(self) -> None:
        self.accounts.close()
        self.store.close()


@pytest.fixture
def member(where: Address, tmp_path: Path) -> Iterator[Callable[..., Member]]:
    """Make collectors' memories; the same name is the same folder."""
    numbers = itertools.count()
    with contextlib.ExitStack() as ends:

        def make(name: str = "", at: Address = where) -> Member:
            folder = tmp_path / (name or f"member-{next(numbers)}")
            return ends.enter_context(contextlib.closing(Member(at, folder)))

        yield make


# --- accounts ----------------------------------------------------------------------------------


def test_apps_keys_and_tokens_made_on_one_are_good_on_the_other(
    member: Callable[..., Member],
) -> None:
    one, other = member(), member()
    one.accounts.add_app("Acme", NOW, app_id="acme")
    token = one.accounts.add_token("acme", ["stats:read"], NOW)
    one.sync.sync()
    assert other.accounts.app("acme") is None
    other.sync.sync()
    assert other.accounts.app("acme") == one.accounts.app("acme")
    assert other.accounts.grant(token, NOW) == one.accounts.grant(token, NOW)
    assert min(one.forgot, other.forgot) >= 1
    for side in (one, other, one, other):  # that a token was used is news as well
        side.sync.sync()
    before = (one.forgot, other.forgot)
    one.sync.sync()
    other.sync.sync()
    assert (one.forgot, other.forgot) == before, "nothing changed, and yet something was told"


def test_a_token_revoked_on_one_is_refused_by_the_other_and_never_comes_back(
    member: Callable[..., Member], tmp_path: Path
) -> None:
    one, other = member("one"), member("other")
    one.accounts.add_app("Acme", NOW, app_id="acme")
    token = one.accounts.add_token("acme", ["stats:read"], NOW)
    for side in (one, other, one):
        side.sync.sync()
    with sqlite3.connect(tmp_path / "other" / "accounts.db") as db:
        db.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    assert other.accounts.grant(token, NOW) is not None
    one.accounts.revoke(token)
    one.sync.sync()
    other.sync.sync()
    assert other.accounts.grant(token, NOW) is None
    # Somebody puts an older file back, without and with the memory of what both had.
    other.close()
    for memory in (False, True):
        for name in ("accounts.db", "accounts.db-wal", "accounts.db-shm"):
            (tmp_path / "other" / name).unlink(missing_ok=True)
        (tmp_path / "other" / "accounts.db").write_bytes((tmp_path / "backup.db").read_bytes())
        if not memory:
            (tmp_path / "other" / "accounts.db.shared").unlink()
        again = member("other")
        assert again.accounts.grant(token, NOW) is not None
        again.sync.sync()
        one.sync.sync()
        assert again.accounts.grant(token, NOW) is None
        assert one.accounts.grant(token, NOW) is None
        assert one.accounts.app("acme") == again.accounts.app("acme")
        again.close()


def test_a_replica_that_lags_brings_no_revoked_token_back(
    member: Callable[..., Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = member("one")
    one.accounts.add_app("Acme", NOW, app_id="acme")
    token = one.accounts.add_token("acme", ["stats:read"], NOW)
    one.sync.sync()
    past = one.shared.accounts()
    one.accounts.revoke(token)
    one.sync.sync()
    one.close()
    again = member("one")  # what it knows outlives the process
    monkeypatch.setattr(again.shared, "accounts", lambda: past)
    again.sync.sync()
    assert again.accounts.grant(token, NOW) is None
    monkeypatch.undo()
    again.sync.sync()
    assert again.accounts.grant(token, NOW) is None
    assert again.accounts.app("acme") is not None


def test_an_app_that_was_removed_may_be_made_again(member: Callable[..., Member]) -> None:
    one, other = member(), member()
    one.accounts.add_app("Acme", NOW, app_id="acme")
    one.sync.sync()
    other.sync.sync()
    other.accounts.remove_app("acme")
    other.sync.sync()
    one.sync.sync()
    one.accounts._known.clear()
    assert one.accounts.app("acme") is None
    made = one.accounts.add_app("Acme again", NOW + 1, app_id="acme")
    one.sync.sync()
    other.sync.sync()
    assert other.accounts.app("acme") == made


def test_changes_on_both_sides_while_apart_meet(member: Callable[..., Member]) -> None:
    one, other = member(), member()
    for n, side in enumerate((one, other)):
        side.accounts.add_app(f"App {n}", NOW, app_id=f"app-{n}")
        side.accounts.add_app("Both", NOW + n, app_id="both")
    for side in (one, other, one):
        side.sync.sync()
    assert one.accounts.apps() == other.accounts.apps()
    assert {app.app_id for app in one.accounts.apps()} == {"app-0", "app-1", "both"}
    one.accounts.keep_for("both", 30)
    other.accounts.keep_for("both", 90)
    for side in (one, other, one):
        side.sync.sync()
    assert one.accounts.apps() == other.accounts.apps()


def test_an_engine_that_never_heard_of_an_app_is_told_and_takes_nothing_away(
    member: Callable[..., Member], clickhouse: ClickHouse, where: Address
) -> None:
    first = member("same")
    app = first.accounts.add_app("Acme", NOW, app_id="acme")
    first.sync.sync()
    first.close()
    with clickhouse.database() as empty:
        from dataclasses import replace

        moved = member("same", replace(where, database=empty))
        moved.sync.sync()
        assert moved.accounts.app("acme") == app
        assert [r.subject for r in moved.shared.accounts()] == ["app"]
        moved.close()


def test_nothing_that_opens_anything_lies_in_the_engine(member: Callable[..., Member]) -> None:
    one = member()
    one.accounts.add_app("Acme", NOW, app_id="acme")
    token = one.accounts.add_token("acme", ["admin"], NOW)
    one.sync.sync()
    assert token not in str(one.shared.accounts())
    assert token[-20:] not in str(one.shared.accounts())


# --- presence, limits, erasures ----------------------------------------------------------------


def speaks(member: Member, connection: int, device: str, user: str = "") -> None:
    event = Event(kind=Kind.EVENT, type="event", name="E", user_id=user or None, platform="Linux")
    member.presence.joined(connection)
    member.presence.seen("A", connection, device, [event])


def test_who_is_live_on_one_is_seen_on_the_other(member: Callable[..., Member]) -> None:
    one, other = member(), member()
    for _ in range(2):
        one.turn()
        other.turn()
    assert (one.sharing.collectors, other.sharing.collectors) == (2, 2)
    speaks(one, 1, "d1", "ann")
    speaks(other, 1, "d2", "bob")
    speaks(other, 2, "both")
    speaks(one, 2, "both")
    for side in (one, other, one):
        side.turn()
    for side in (one, other):
        live = side.presence.live("A")
        assert {(d.device_id, d.user_id, d.platform) for d in live} == {
            ("d1", "ann", "Linux"),
            ("d2", "bob", "Linux"),
            ("both", "", "Linux"),
        }
        assert side.presence.live("B") == []
    assert other.presence.everyone() == 2


def test_who_leaves_one_is_gone_on_the_other_after_the_grace(
    member: Callable[..., Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.intake.presence.GRACE_MS", 300)
    one, other = member(), member()
    speaks(one, 1, "d1")
    for side in (one, other):
        side.turn()
    assert len(other.presence.live("A")) == 1
    one.presence.left(1)
    one.turn()
    other.turn()
    assert len(other.presence.live("A")) == 1, "a reconnect does not flicker"
    time.sleep(0.4)
    one.turn()
    other.turn()
    assert other.presence.live("A") == []


def test_a_collector_that_falls_silent_is_none_and_its_devices_vanish(
    member: Callable[..., Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "GRACE_S", 2)
    one, other = member(), member()
    speaks(one, 1, "d1")
    for side in (one, other):
        side.turn()
    assert len(other.presence.live("A")) == 1
    assert other.limit.rate_per_s == 50.0
    assert other.limit.burst == 30.0

    def missed() -> bool:
        other.turn()
        return other.sharing.collectors == 1

    until(missed, 8, "the silent collector was not missed")
    assert other.presence.live("A") == []
    assert (other.limit.rate_per_s, other.limit.burst) == (100.0, 60.0)


def test_what_a_collector_left_long_ago_is_removed(
    member: Callable[..., Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "GRACE_S", 1)
    monkeypatch.setattr(sharing, "FORGET_S", 2)
    one, other = member(), member()
    speaks(one, 1, "d1")
    one.turn()
    time.sleep(4)
    other.turn()
    assert {row.collector for row in other.shared.live([one.sharing.id], 0)} == set()
    assert other.shared.silent(0) <= {other.sharing.id}


def test_an_erasure_on_one_is_heard_of_on_the_other(member: Callable[..., Member]) -> None:
    one, other = member(), member()
    other.turn()
    other.turn()
    assert other.erasures == 0
    one.store.write([row()], [Tombstone("A", "user", "ab", NOW, NOW + 1)])
    other.turn()
    assert other.erasures == 1
    other.turn()
    assert other.erasures == 1


def test_an_engine_that_is_away_is_told_of_once_and_when_it_is_back(
    member: Callable[..., Member],
    another_clickhouse: Callable[[], ClickHouse],
    expected_warnings: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from collector.store.clickhouse_address import PASSWORD, address

    expected_warnings("collector.sharing")
    caplog.set_level("INFO", "collector.sharing")
    server = another_clickhouse()
    one = member(at=address(server.engine("homing"), {PASSWORD: server.password}))
    speaks(one, 1, "d1")
    one.turn()
    server.kill()
    for _ in range(3):
        one.turn()
    assert len(one.presence.live("A")) == 1
    server.start()
    one.turn()
    said = [record.message.split(" code=")[0].split(" collectors=")[0] for record in caplog.records]
    assert said == ["other collectors cannot be heard", "other collectors are heard again"]
