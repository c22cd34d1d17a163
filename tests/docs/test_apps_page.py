"""Every example of docs/apps.md and docs/spool.md is run, or at least what it sends is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.door.gateway import GiveToken
from agent.host import Agent, HostDoor
from benchmarks.processes import until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "apps.md").read_text("utf-8")
SPOOL = (ROOT / "docs" / "spool.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)( \w+)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [(kind, role.strip(), code) for kind, role, code in BLOCK.findall(PAGE)]
CLIENTS = (
    ROOT / "clients" / "python" / "homing_client.py",
    ROOT / "clients" / "javascript" / "homing-client.cjs",
)
APPS = '[[apps]]\nid = "acme-notes"\nname = "Acme Notes"\n'
#: A stand-in for Electron: what main, preload and page use of it.
ELECTRON = """
const heard = {};
module.exports = {
  app: { whenReady: () => Promise.resolve() },
  BrowserWindow: class {
    constructor({ webPreferences }) { this.preload = webPreferences.preload; }
    loadFile() { require(this.preload); globalThis.window = globalThis; require("./page.js"); }
  },
  ipcMain: { on: (channel, then) => (heard[channel] = then) },
  ipcRenderer: { send: (channel, ...words) => heard[channel]({}, ...structuredClone(words)) },
  contextBridge: { exposeInMainWorld: (name, value) => (globalThis[name] = value) },
};
"""
BROWSER = """
import { webcrypto } from "node:crypto"; // what a page has without asking
globalThis.crypto ??= webcrypto;
"""


class House:
    """An agent, and a folder with the clients in it where examples are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        for client in CLIENTS:
            shutil.copy(client, self.work)
        (folder / "config").mkdir(mode=0o700)
        (folder / "config" / "homing.toml").write_text(APPS)
        self.agent = Agent({"HOMING_HOME": str(folder)})
        self.door: HostDoor = self.agent.start()
        self.seen = 0

    def run(self, words: list[str], **files: str) -> str:
        done = self.attempt(words, **files)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    def attempt(self, words: list[str], **files: str) -> subprocess.CompletedProcess[str]:
        for name, text in files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_text(text)
        environment = {
            "HOMING_HOME": str(self.folder),
            "SOCKET": str(self.agent.places.socket),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "NODE_NO_WARNINGS": "1",  # Node.js 18 says of its fetch that it is an experiment
        }
        return subprocess.run(
            words,
            env=environment,
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def new_events(self, count: int) -> list[dict[str, Any]]:
        """Return what was stored since the last call, once it is so much."""
        until(lambda: len(self._stored()) >= self.seen + count, 10, f"{count} events are not there")
        events = self._stored()[self.seen :]
        self.seen += len(events)
        return events

    def _stored(self) -> list[dict[str, Any]]:
        queued = [json.loads(event.body) for event in self.door.outbox(limit=1000)]
        return [event for event in queued if event["type"] != "init"]


@pytest.fixture
def house(expected_warnings: Callable[..., None]) -> Iterator[House]:
    expected_warnings("agent.secrets", "agent.spool")
    folder = Path(tempfile.mkdtemp(prefix="hd-"))
    one = House(folder)
    yield one
    one.agent.stop()
    shutil.rmtree(folder)


def of(kind: str, role: str = "") -> list[str]:
    found = [code for its, part, code in BLOCKS if (its, part) == (kind, role)]
    assert found, f"the page has no {kind} {role}"
    return found


def test_no_example_of_the_page_is_forgotten_here() -> None:
    kinds = [(kind, role) for kind, role, _ in BLOCKS]
    assert sorted(set(kinds)) == [
        ("csharp", ""),
        ("go", ""),
        ("js", ""),
        ("js", "electron"),
        ("js", "gateway"),
        ("js", "page"),
        ("js", "preload"),
        ("mjs", ""),
        ("python", ""),
        ("rust", ""),
        ("sh", ""),
    ]
    assert len(kinds) == 15


@pytest.mark.parametrize("number", range(3))
def test_the_shell(house: House, number: int) -> None:
    house.run(["bash", "-ec", of("sh")[number]])
    (event,) = house.new_events(1)
    assert (event["name"], event["payload"]) == ("backup.done", {"files": 214})


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, ["userid", "props", "event", "error"]),
        (1, ["event"]),
        (2, ["event"]),
    ],
)
def test_python(house: House, number: int, expected: list[str]) -> None:
    said = house.run([sys.executable, "example.py"], **{"example.py": of("python")[number]})
    events = house.new_events(len(expected))
    assert [event["type"] for event in events] == expected
    assert said == ""
    if number == 0:
        assert {event["userId"] for event in events} == {"ada"}
        assert "ZeroDivisionError" in events[-1]["payload"]["stack"]


def test_node_by_require(house: House) -> None:
    (code,) = of("js")
    house.run(["node", "example.js"], **{"example.js": code})
    events = house.new_events(4)
    assert [event["type"] for event in events] == ["userid", "props", "event", "error"]
    assert events[-1]["payload"]["message"] == "no room on disk"


def test_node_by_import(house: House) -> None:
    (code,) = of("mjs")
    house.run(["node", "example.mjs"], **{"example.mjs": code})
    assert [event["name"] for event in house.new_events(1)] == ["licence.bought"]


def test_electron_main_preload_and_page(house: House) -> None:
    files = {
        "main.js": of("js", "electron")[0],
        "preload.js": of("js", "preload")[0],
        "page.js": of("js", "page")[0],
        "node_modules/electron/index.js": ELECTRON.replace("./page.js", f"{house.work}/page.js"),
    }
    house.run(["node", "main.js"], **files)
    events = house.new_events(2)
    assert [event["name"] for event in events] == ["app.started", "document.opened"]
    assert events[1]["payload"] == {"pages": 12}


def test_a_page_through_the_gateway(house: House) -> None:
    given = house.door.ask(GiveToken(app_id="acme-notes", origins=("file://",)))
    (code,) = of("js", "gateway")
    code = code.replace("PORT", str(given.port)).replace('"TOKEN"', json.dumps(given.token))
    code = BROWSER + code
    house.run(["node", "page.mjs"], **{"page.mjs": code})
    (event,) = house.new_events(1)
    assert (event["name"], event["payload"]) == ("document.opened", {"pages": 12})


def test_no_example_calls_an_event_safe_that_was_thrown_away(house: House) -> None:
    """A wrong event is in ``reportedIds``, not to be repeated; ``refused`` says the rest."""
    given = house.door.ask(GiveToken(app_id="acme-notes", origins=("file://",)))
    page = of("js", "gateway")[0].replace("PORT", str(given.port)).replace("TOKEN", given.token)
    for words, file, code in (
        (["node"], "wrong.mjs", BROWSER + page),
        ([sys.executable], "wrong.py", of("python")[2]),
    ):
        wrong = code.replace("{ pages: 12 }", "[12]").replace('{"pages": 12}', "[12]")
        assert wrong != code
        assert "payload must be an object" in house.attempt([*words, file], **{file: wrong}).stderr
    assert "len(said.Refused) == 0" in of("go")[0]
    assert '!answer.contains(r#""refused":"#)' in of("rust")[0]
    assert house.door.outbox() == ()


@pytest.mark.parametrize("language", ["go", "csharp"])
def test_the_request_of_a_language_that_is_not_run(house: House, language: str) -> None:
    """Its path and its body, as they stand in the example, over the socket it names."""
    (code,) = of(language)
    (path,) = set(re.findall(r"app/[\w-]+/track", code))
    (body,) = re.findall(r'\{"data":.*\}\]\}', code)
    assert '"application/json"' in code
    words = ["curl", "-sS", "--fail-with-body", "--unix-socket"]
    words += [str(house.agent.places.socket), f"http://localhost/{path}"]
    words += ["-H", "Content-Type: application/json; charset=utf-8", "-d", body]
    assert json.loads(house.run(words)) == {"reportedIds": ["open-1"]}
    (event,) = house.new_events(1)
    assert (event["name"], event["payload"]) == ("document.opened", {"pages": 12})


def test_the_line_of_rust(house: House) -> None:
    (code,) = of("rust")
    (line,) = re.findall(r'r#"(\{"appId".*\}\]\})"#', code)
    words = ["bash", "-ec", 'printf "%s\\n" "$0" | nc -U -q 1 "$SOCKET"', line]
    assert json.loads(house.run(words)) == {"reportedIds": ["open-1"]}
    assert '"reportedIds":["open-1"]' in code


def test_the_shell_leaves_a_whole_file_in_the_spool(house: House) -> None:
    (code,) = [code for kind, _, code in BLOCK.findall(SPOOL) if kind == "sh"]
    house.run(["bash", "-ec", code])
    (event,) = house.new_events(1)
    assert (event["name"], event["payload"]) == ("backup.done", {"files": 214})
    assert list((house.folder / "state" / "spool").glob("*.ndjson*")) == []


def test_the_page_of_the_spool_shows_a_file_that_the_agent_reads(house: House) -> None:
    (content,) = [code for kind, _, code in BLOCK.findall(SPOOL) if kind == "json"]
    name = "bc4841e7f070789f-0123456789abcdef.ndjson"
    spool = house.folder / "state" / "spool"
    (spool / f".{name}").write_text(content)
    (spool / f".{name}").rename(spool / name)
    events = house.new_events(2)
    assert [event["type"] for event in events] == ["event", "error"]
    dropped = "acme-notes dropped 12 events while no agent ran: its spool was full"
    until(lambda: dropped in [n.text for n in house.door.status().notices], 5, "nobody is told")
