"""Who may ask: tokens, scopes and their limits (SECURITY.md, threats 50, 51, 61; NUCLEUS D1)."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from collectors import NOW, AppOf, Collector, command, until

import collector.access.tokens
from collector.access.accounts import DAY_MS, Accounts
from collector.access.limits import Limiter
from tracking.errors import RequestFault

GLANCE = "/api/v1/apps/{}/analytics/quickglance"


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    with contextlib.closing(Accounts(tmp_path / "accounts.db")) as made:
        made.add_app("Acme", NOW, app_id="A")
        made.add_app("Other", NOW, app_id="B")
        yield made


@pytest.fixture
def guarded(run: Callable[..., Collector]) -> Collector:
    """A server of its own: wrong tokens are counted per address, and all tests have one."""
    return run()


def ask(far_end: Collector, path: str, token: str | None, method: str = "GET") -> tuple[int, Any]:
    headers = {} if token is None else {"Authorization": token}
    return far_end.request(method, path, headers=headers)[:2]


def test_50_no_token_is_written_anywhere(guarded: Collector) -> None:
    token = guarded.app("A")
    assert ask(guarded, GLANCE.format("A"), token)[0] == 200
    assert ask(guarded, GLANCE.format("A"), token[:-1] + "!")[0] == 401
    assert guarded.stop() == 0
    secret = token.removeprefix("dat1_")[8:].encode()
    files = [file for file in guarded.folder.path.parent.rglob("*") if file.is_file()]
    assert len(files) >= 4
    for file in files:
        assert secret not in file.read_bytes(), file
    with contextlib.closing(sqlite3.connect(guarded.folder.accounts)) as db:
        assert secret.decode() not in "\n".join(db.iterdump())


def test_50_digests_are_compared_in_constant_time_and_nowhere_else() -> None:
    tree = ast.parse(inspect.getsource(collector.access.tokens))
    (grant,) = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "grant"]
    calls = [
        n.func.attr for n in ast.walk(grant) if isinstance(getattr(n, "func", 0), ast.Attribute)
    ]
    assert calls.count("compare_digest") == 1
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            assert not names & {"digest", "text"}, ast.unparse(node)
    for text in ast.walk(tree):  # no engine compares the digest to let somebody in, either
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            assert "SELECT" not in text.value or "digest =" not in text.value


def test_50_a_miss_compares_a_digest_too(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    real = collector.access.tokens.hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(len(a) + len(b))
        return real(a, b)

    monkeypatch.setattr(collector.access.tokens, "hmac", SimpleNamespace(compare_digest=compare))
    token = accounts.add_token("A", (), NOW)
    assert accounts.grant("dat1_nobody-has-this", NOW) is None
    assert accounts.grant("", NOW) is None
    assert accounts.grant(token, NOW) is not None
    assert compared == [64, 64, 64]


@pytest.mark.parametrize("spelling", ["{}", "Bearer {}", "bearer {}", "BEARER  {}", " {} "])
def test_d1_a_token_may_come_raw_or_as_bearer(app: AppOf, spelling: str) -> None:
    path = GLANCE.format(app.id)
    assert ask(app.far_end, path, spelling.format(app.token))[0] == 200


def test_d1_a_token_may_come_in_the_body_of_a_post(app: AppOf) -> None:
    path = GLANCE.format(app.id)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    post = app.far_end.request
    assert post("POST", path, {"token": app.token})[0] == 200
    assert post("POST", path, f"start=1&token={app.token}", form)[0] == 200


def test_d1_what_is_no_token_opens_nothing(guarded: Collector) -> None:
    token = guarded.app("A")
    path = GLANCE.format("A")
    post = guarded.request
    assert post("GET", f"{path}?token={token}")[0] == 401
    assert post("POST", f"{path}?token={token}", "{}")[0] == 401
    assert post("GET", path, {"token": token})[0] == 401
    assert post("POST", path, {"token": [token]})[0] == 401
    assert post("POST", path, [token])[0] == 401
    assert post("POST", path, "not json")[0] == 400
    assert post("POST", path, "[" * 50_000)[0] == 400
    assert post("POST", path, "x" * 70_000)[0] == 413
    assert post("POST", path, b"\x1f\x8b", {"Content-Encoding": "gzip"})[0] == 415


def test_51_ten_wrong_tokens_are_enough_but_the_right_one_always_opens(guarded: Collector) -> None:
    """An office shares one address: who knows the token is not locked out by who guesses."""
    token = guarded.app("A")
    path = GLANCE.format("A")
    for n in range(10):
        assert ask(guarded, path, token)[0] == 200
        assert ask(guarded, path, f"dat1_wrong{n}")[0] == 401
    for n in range(3):
        wrong = {"Authorization": f"dat1_wrong{n}"}
        status, said, headers = guarded.request("GET", path, headers=wrong)
        assert status == 429
        assert int(headers["Retry-After"]) >= 1
        assert "error" in said
        assert ask(guarded, path, token)[0] == 200
        assert ask(guarded, path.replace("/A/", "/nobody/"), token)[0] == 429
    # 61: whoever the address claims to speak for, it stays the same address.
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        wrong = {"Authorization": "dat1_wrong", header: "198.51.100.7"}
        assert guarded.request("GET", path, headers=wrong)[0] == 429
    # Events still come in: reporting has nothing to do with asking.
    assert guarded.say({"data": [{"type": "init", "id": 1, "machineId": "m"}]}) == {
        "reportedIds": [1]
    }


def test_51_the_door_opens_again_by_the_clock() -> None:
    limiter = Limiter(10 / 60, 10)
    for _ in range(10):
        assert limiter.take("peer", 1, 100.0) == 0
    assert limiter.take("peer", 1, 100.0) == pytest.approx(6)
    assert limiter.take("other", 1, 100.0) == 0
    assert limiter.take("peer", 1, 106.1) == 0
    assert limiter.take("peer", 1, 106.1) > 0


def test_53_a_limiter_grants_a_whole_queue_once_and_then_its_debt_is_paid() -> None:
    limiter = Limiter(100, 1000)
    assert limiter.take("A", 5000, 0) == 0  # one frame, larger than the bucket
    assert limiter.take("A", 1, 0) == pytest.approx(40.01)
    assert limiter.take("A", 1, 39) > 0
    assert limiter.take("A", 1, 41) == 0
    limiter.give_back("A", 1e9)
    assert limiter.take("A", 1000, 41) == 0


def test_a_token_ends_when_it_is_said_to(accounts: Accounts) -> None:
    token = accounts.add_token("A", ["stats:read"], NOW, days=2)
    assert accounts.grant(token, NOW + 2 * DAY_MS - 1) is not None
    assert accounts.grant(token, NOW + 2 * DAY_MS) is None
    for days in (0, -1, 10**9):
        with pytest.raises(RequestFault, match="lasts"):
            accounts.add_token("A", (), NOW, days=days)


def test_a_revoked_token_is_dead_in_the_running_server(guarded: Collector) -> None:
    token = guarded.app("A")
    kept = guarded.app("A")
    path = GLANCE.format("A")
    assert ask(guarded, path, token)[0] == 200
    done = guarded.command("token", "revoke", token[5:13])
    assert (done.returncode, done.stdout) == (0, '{"revoked": 1}\n')
    assert ask(guarded, path, token)[0] == 401
    assert ask(guarded, path, kept)[0] == 200


def test_no_token_and_no_app_begins_like_a_flag(accounts: Accounts) -> None:
    assert all(accounts.add_token("A", (), NOW)[5] != "-" for _ in range(300))
    with pytest.raises(RequestFault, match="begins with no"):
        accounts.add_app("x", NOW, app_id="-x")


def test_a_token_knows_its_scopes_and_its_last_day(accounts: Accounts) -> None:
    token = accounts.add_token("A", [], NOW)
    grant = accounts.grant(token, NOW + 5 * DAY_MS)
    assert grant is not None
    assert (grant.app_id, grant.scopes) == ("A", {"stats:read", "users:read"})
    assert accounts.tokens("A")[0].used_day == NOW // DAY_MS + 5
    assert accounts.tokens("B") == []
    with pytest.raises(RequestFault, match="no scope"):
        accounts.add_token("A", ["everything"], NOW)
    with pytest.raises(RequestFault, match="no app"):
        accounts.add_token("C", [], NOW)


def test_two_makers_of_one_app_make_one(accounts: Accounts) -> None:
    with contextlib.closing(Accounts(accounts.path)) as second:
        assert second.add_app("x", NOW, app_id="A", if_missing=True).name == "Acme"
        with pytest.raises(RequestFault, match="exists already"):
            second.add_app("x", NOW, app_id="A")
        assert accounts.app("C") is None
        second.add_app("x", NOW, app_id="C")
        assert accounts.app("C") is not None


def test_answers_forbid_sniffing_storing_and_framing(app: AppOf) -> None:
    for path, token, status in (
        (GLANCE.format(app.id), app.token, 200),
        (f"/api/v1/apps/{app.id}/nothing", app.token, 404),
    ):
        found, said, headers = app.far_end.request("GET", path, headers={"Authorization": token})
        assert found == status
        assert isinstance(said, dict)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"] == "default-src 'none'"


def test_who_asks_for_an_app_does_not_wait_for_who_changes_one(accounts: Accounts) -> None:
    token = accounts.add_token("A", (), NOW)
    other = sqlite3.connect(accounts.path, isolation_level=None)
    with contextlib.closing(other):
        other.execute("BEGIN IMMEDIATE")
        changing = threading.Thread(target=accounts.grant, args=(token, NOW + 9 * DAY_MS))
        changing.start()  # writes down the day, which it may not yet
        began = time.monotonic()
        while accounts._changing.acquire(blocking=False):
            accounts._changing.release()
        assert accounts.app("nobody") is None
        assert time.monotonic() - began < 1
        assert changing.is_alive()
        other.execute("COMMIT")
    changing.join(10)


# --- rotation ----------------------------------------------------------------------------------


def test_a_rotated_token_works_until_the_overlap_ends(accounts: Accounts) -> None:
    old = accounts.add_token("A", ["stats:read", "users:delete"], NOW)
    fresh, was = accounts.rotate(old[5:13], NOW + 1, overlap_ms=DAY_MS)
    assert fresh != old
    grant = accounts.grant(fresh, NOW + 400 * DAY_MS)
    assert grant is not None
    assert (grant.app_id, grant.scopes, grant.expires_ms) == (
        "A",
        {"stats:read", "users:delete"},
        None,
    )
    assert was.expires_ms == NOW + 1 + DAY_MS
    assert accounts.grant(old, NOW + DAY_MS) is not None
    assert accounts.grant(old, NOW + 1 + DAY_MS) is None


def test_rotation_without_an_overlap_ends_the_old_token_at_once(accounts: Accounts) -> None:
    old = accounts.add_token("A", (), NOW)
    fresh, _ = accounts.rotate(old[:13], NOW)
    assert accounts.grant(old, NOW) is None
    assert accounts.grant(fresh, NOW) is not None
    with pytest.raises(RequestFault, match="no living token"):
        accounts.rotate(old[5:13], NOW)


def test_a_rotated_token_lasts_as_long_as_the_old_one_did_and_no_rotation_prolongs_that(
    accounts: Accounts,
) -> None:
    old = accounts.add_token("A", (), NOW, days=10)
    fresh, was = accounts.rotate(old[5:13], NOW + 9 * DAY_MS, overlap_ms=5 * DAY_MS)
    assert was.expires_ms == NOW + 10 * DAY_MS  # its own end comes before the overlap's
    (grant,) = [g for g in accounts.tokens("A") if g.prefix == fresh[5:13]]
    assert grant.expires_ms == NOW + 19 * DAY_MS
    assert accounts.grant(old, NOW + 10 * DAY_MS) is None


def test_two_who_rotate_at_once_get_one_token(accounts: Accounts) -> None:
    old = accounts.add_token("A", (), NOW)
    made: list[str] = []

    def rotate() -> None:
        with contextlib.suppress(RequestFault):
            made.append(accounts.rotate(old[5:13], NOW)[0])

    threads = [threading.Thread(target=rotate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
    assert len(accounts.tokens("A")) == 2


def test_a_rotation_reaches_the_running_server(guarded: Collector) -> None:
    old = guarded.app("A")
    path = GLANCE.format("A")
    assert ask(guarded, path, old)[0] == 200
    done = guarded.command("token", "rotate", old[5:13], "--overlap", "2s")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["old"]["prefix"] == old[5:13]
    assert ask(guarded, path, said["token"])[0] == 200
    until(lambda: ask(guarded, path, old)[0] == 401)
    assert ask(guarded, path, said["token"])[0] == 200


def test_the_list_is_a_table_for_people_and_json_for_programs(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert command("app", "add", "Acme", "--id", "A", folder=folder).returncode == 0
    token = json.loads(command("token", "add", "A", "--days", "3", folder=folder).stdout)["token"]
    assert command("token", "rotate", token[5:13], folder=folder).returncode == 0
    head, ended, living = command("token", "list", folder=folder).stdout.splitlines()
    assert head.split() == ["PREFIX", "APP", "SCOPES", "MADE", "ENDS", "LAST", "USED"]
    assert ended.split()[0] == token[5:13]
    assert "ended" in ended
    assert re.search(r"stats:read,users:read +20\d\d-\d\d-\d\d +20.*Z +never$", living)
    for line in command("token", "list", "--json", folder=folder).stdout.splitlines():
        assert json.loads(line)["scopes"] == ["stats:read", "users:read"]
    assert command("token", "list", "B", folder=folder).stdout == ""
    for overlap in ("-1d", "soon", "1w", "99999999d", ""):
        done = command("token", "rotate", "x", f"--overlap={overlap}", folder=folder)
        assert done.returncode == 64, overlap
    assert command("token", "rotate", "nothing1", folder=folder).returncode == 64
