"""`homing data` and `homing wire` against a real agent, through its socket."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.records.spool import ASIDE, prefix
from agent.cli import _entrance, main
from agent.cli.shell import Shell
from agent.client import find_door
from agent.host import Agent, HostDoor

MakeAgent = Callable[..., tuple[Agent, HostDoor]]


class Typed:
    """Commands typed in a shell on the agent's machine."""

    def __init__(self) -> None:
        self.said = self.complained = ""

    def __call__(self, *words: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        door = find_door(os.environ)
        shell = Shell(
            out=out, err=err, inward=io.StringIO(), env=os.environ,
            door=lambda: door, entrance=_entrance,
        )  # fmt: skip
        code = main(list(words), shell)
        self.said, self.complained = out.getvalue(), err.getvalue()
        return code


@pytest.fixture
def typed(make_agent: MakeAgent, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("HOMING_HOME", str(folder))
    _, door = make_agent()
    for n in range(3):
        door.send(f"EVENT-{n}", app_id="acme-notes", payload={"n": n})
    door.send("OTHER", app_id="acme-ci")
    return Typed()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_an_export_has_everything_and_can_be_checked(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "mine.ndjson"
    assert typed("data", "export", str(file)) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = lines(file)
    assert said[0]["what"] == "homing.data"
    assert said[0]["apps"] == ["acme-notes", "acme-ci"]
    apps = {one["app_id"]: one for one in said if one["what"] == "app"}
    assert apps["acme-notes"]["profile"]["identity"]["device_id"]
    assert apps["acme-notes"]["consent"] == "allowed"
    events = [one for one in said if one["what"] == "event"]
    names = [one["event"].get("name") for one in events if one["appId"] == "acme-notes"]
    assert names == [None, "EVENT-0", "EVENT-1", "EVENT-2"]
    end = said[-1]
    assert end["what"] == "end"
    assert end["counts"]["event"] == 6
    raw = file.read_bytes()
    before = raw[: raw.rstrip(b"\n").rfind(b"\n") + 1]
    assert end["sha256"] == hashlib.sha256(before).hexdigest()
    assert "6 event" in typed.complained


def test_one_app_is_exported_alone_and_to_the_output(typed: Typed) -> None:
    assert typed("data", "export", "-", "--app", "acme-ci") == 0
    said = [json.loads(line) for line in typed.said.splitlines()]
    assert {one.get("appId") for one in said if one["what"] == "event"} == {"acme-ci"}
    assert typed("data", "export", "-", "--app", "nobody") == 64
    assert "nothing is held of 'nobody'" in typed.complained


def test_what_lies_in_the_spool_is_exported_and_deleted_too(
    typed: Typed, folder: Path, tmp_path: Path
) -> None:
    aside = next(folder.rglob("spool")) / ASIDE
    aside.mkdir(mode=0o700, exist_ok=True)
    left = aside / f"{prefix('acme-notes')}left"
    left.write_text('{"name":"SPOOLED"}\n')
    file = tmp_path / "mine.ndjson"
    assert typed("data", "export", str(file)) == 0
    (one,) = [one for one in lines(file) if one["what"] == "spooled"]
    assert (one["appId"], one["line"]) == ("acme-notes", '{"name":"SPOOLED"}')
    assert typed("data", "delete", "--app", "acme-notes", "--yes") == 0
    assert not left.exists()


def test_an_export_overwrites_nothing(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "mine.ndjson"
    file.write_text("precious")
    assert typed("data", "export", str(file)) == 64
    assert file.read_text() == "precious"


def test_what_is_deleted_is_gone_and_the_other_app_stays(typed: Typed, tmp_path: Path) -> None:
    assert typed("data", "delete", "--app", "acme-notes") == 64, "nobody was there to be asked"
    assert typed("data", "delete", "--app", "acme-notes", "--yes") == 0
    assert "4 events not delivered" in typed.said
    file = tmp_path / "after.ndjson"
    assert typed("data", "export", str(file)) == 0
    left = {one["appId"] for one in lines(file) if one["what"] == "event"}
    assert left == {"acme-ci"}


def test_a_far_end_that_cannot_be_asked_is_said_and_exit_1(typed: Typed) -> None:
    assert typed("data", "delete", "--app", "acme-notes", "--remote", "--yes") == 1
    assert "nucleus was not asked: no data_api is named" in typed.complained
    assert typed("data", "requests") == 0
    assert typed.said == "No far end was asked to delete anything.\n"


def test_the_wire_is_read_through_the_socket(typed: Typed) -> None:
    assert typed("wire", "--json", "--limit", "3") == 0
    assert isinstance(json.loads(typed.said), list)
    assert typed("wire", "--search", "no such thing") == 0
    assert "Nothing in the record of the wire fits." in typed.said
