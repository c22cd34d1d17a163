"""`import`: a file's events over a real Unix socket that speaks the real line protocol."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from agent.adapters.local.api import Keyed
from agent.cli.entrance import Entrance
from agent.cli.lane import deliver
from agent.cli.ndjson import Item, batches
from tracking.endpoints import tracking_routes
from tracking.errors import AgentGone, DiskFull, Fault, OverQuota, RequestFault, StorageFault
from tracking.events import Frame, Limits
from tracking.lines import LineProtocol
from tracking.nucleus import content_hash
from tracking.serving import Listener
from tracking.sink import Origin, Receipt


class Agent:
    """The counter of an agent: keeps events in memory, recognises repeats, and can be moody.

    Attributes:
        path: Where it listens.
        stored: Every event once, as (app, id, name).
        frames: How many frames came.
        mood: Asked with each frame; a fault it returns is the answer.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stored: list[tuple[str, Any, str | None]] = []
        self.frames = 0
        self.mood: Callable[[Agent], Fault | None] = lambda _: None
        self.limits = Limits()
        self._known: set[bytes] = set()
        self._listener: Listener | None = None
        self._protocols: list[LineProtocol] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agent")
        self._thread.start()
        self._server = self._call(self._listen())

    async def _listen(self) -> asyncio.AbstractServer:
        return await self._loop.create_unix_server(self._protocol, str(self.path))

    def _protocol(self) -> LineProtocol:
        self._protocols.append(LineProtocol(self, self.limits))
        return self._protocols[-1]

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def take(
        self, app_id: str, frame: Frame, origin: Origin, reply: Callable[[Receipt], None]
    ) -> None:
        """Keep what is new, in the next turn of the loop, as a group commit does."""
        self.frames += 1
        if fault := self.mood(self):
            reply(Receipt(fault=fault))
            return
        for event in frame.events:
            seen = content_hash(app_id, event)
            if seen not in self._known:
                self._known.add(seen)
                self.stored.append((app_id, event.id, event.name))
        self._loop.call_soon(reply, Receipt())

    def refused(self, app_id: str, frame: Frame) -> None:
        """Count nothing: the answer names what was refused."""

    async def admit(self, app_id: str, origin: Origin, *, frame_follows: bool = False) -> None:
        """Let every app in but a ghost."""
        if app_id == "ghost":
            raise RequestFault("no app is named ghost", status=404)

    async def accept(self, app_id: str, frame: Frame, origin: Origin) -> Receipt:
        """Keep a request's events as a line's."""
        answered: asyncio.Future[Receipt] = self._loop.create_future()
        self.take(app_id, frame, origin, answered.set_result)
        return await answered

    def open_loopback(self, token: str) -> int:
        """Listen on 127.0.0.1 as well, for whoever has the token; return the port."""
        sock = socket.create_server(("127.0.0.1", 0))
        routes = Starlette(routes=tracking_routes(self, self.limits))  # type: ignore[arg-type]
        self._listener = Listener(Keyed(routes, token), limits=self.limits)
        self._call(self._listener.on_socket(sock))
        return int(sock.getsockname()[1])

    def hang_up(self) -> None:
        """Cut every connection without a word; called in the loop."""
        for protocol in self._protocols:
            if protocol.transport is not None:
                protocol.transport.abort()

    def connect(self) -> Entrance:
        """Connect to it."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(self.path))
        except OSError as exc:
            sock.close()
            raise AgentGone("no agent is running for this user") from exc
        return Entrance(sock)

    def close(self) -> None:
        """Stop listening and end the thread."""

        async def end() -> None:
            if self._listener is not None:
                await self._listener.drain(1.0)
            self._server.close()
            self.hang_up()
            await asyncio.sleep(0)  # the aborted transports tell their protocols

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    counter = Agent(tmp_path / "s")
    yield counter
    counter.close()


@pytest.fixture
def importing(desk: Any, agent: Agent) -> Any:
    """A desk whose lane leads to that agent."""
    desk.entrance = agent.connect
    return desk


def written(path: Path, *lines: object) -> str:
    """Write lines, those that are no text as JSON; return the path as typed."""
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    path.write_text(text, "utf-8")
    return str(path)


def test_fifty_thousand_lines_arrive_once_in_order_and_fast(
    importing: Any, agent: Agent, tmp_path: Path
) -> None:
    file = tmp_path / "many.ndjson"
    with file.open("w", encoding="utf-8") as out:
        for n in range(50_000):
            out.write(f'{{"name":"n{n}","payload":{{"n":{n}}}}}\n')
    began = time.monotonic()
    assert importing.run("import", str(file), "--app", "acme-notes") == 0
    assert time.monotonic() - began < 30
    assert [name for _, _, name in agent.stored] == [f"n{n}" for n in range(50_000)]
    assert agent.frames == 100
    assert importing.said.startswith("50,000 events safe on this disk, in ")
    assert not importing.complained
    assert importing.run("import", str(file), "--app", "acme-notes") == 0
    assert len(agent.stored) == 50_000, "the second import stored something twice"
    assert importing.said.startswith("50,000 events safe")


def test_lines_may_be_events_or_frames_and_name_their_apps(
    importing: Any, agent: Agent, tmp_path: Path
) -> None:
    file = written(
        tmp_path / "mixed.ndjson",
        {"name": "bare"},
        {"data": [{"name": "first"}, {"name": "second", "id": 7}], "appId": "framed"},
        {"name": "own", "appId": "own-app", "id": "x"},
        "",
        {"data": {"name": "only"}},
        {"type": "props", "userId": "ada", "data": {"plan": "pro"}},
        {"data": [{"type": "heartbeat", "machineId": "m"}]},
    )
    assert importing.run("import", file) == 0
    named = [(app, name) for app, _, name in agent.stored]
    assert named == [
        ("acme-notes", "bare"),
        ("framed", "first"),
        ("framed", "second"),
        ("own-app", "own"),
        ("acme-notes", "only"),
        ("acme-notes", None),
    ]
    assert agent.stored[2][1] == 7, "an id keeps its JSON type"
    assert "1 heartbeat left out" in importing.said


def test_bad_lines_are_named_by_number_and_stop_nothing(
    importing: Any, agent: Agent, tmp_path: Path
) -> None:
    file = written(
        tmp_path / "bad.ndjson",
        {"name": "good"},
        "not json\x1b[2J",
        {"name": "x" * 300},
        '{"name":"a"},{"name":"b"}',
        {"name": "deep", "payload": "text"},
        {"name": "elsewhere", "appId": "no such/app"},
        "[]",
        {"data": [{"name": "fine"}, {"type": "event"}]},
    )
    assert importing.run("import", file) == 1
    assert [name for _, _, name in agent.stored] == ["good", "fine"]
    complaints = importing.complained.splitlines()
    assert [line.split(":")[1].strip() for line in complaints] == [
        f"line {n}" for n in (2, 3, 4, 5, 6, 7, 8)
    ]
    assert "\x1b" not in importing.complained
    assert importing.run("import", file, "--json") == 1
    told = json.loads(importing.said)
    assert (told["acknowledged"], told["bad"], told["complete"]) == (2, 7, True)
    assert [bad["line"] for bad in told["bad_lines"]] == [2, 3, 4, 5, 6, 7, 8]


def test_what_only_the_agent_refuses_is_named_by_its_line_too(
    importing: Any, agent: Agent, tmp_path: Path
) -> None:
    agent.limits = Limits(event_bytes=200)
    file = written(tmp_path / "f.ndjson", {"name": "a"}, {"name": "b", "payload": {"x": "y" * 400}})
    assert importing.run("import", file) == 1
    assert [name for _, _, name in agent.stored] == ["a"]
    assert importing.said.startswith("1 event safe")
    assert importing.complained.startswith("homing: line 2: ")


@pytest.mark.parametrize(
    "fault",
    [OverQuota("too fast", retry_after_s=0.1), DiskFull("full"), StorageFault("read-only")],
    ids=lambda fault: fault.code,
)
def test_what_passes_by_itself_is_waited_for_and_nothing_is_lost(
    importing: Any, agent: Agent, tmp_path: Path, fault: Fault
) -> None:
    file = written(tmp_path / "f.ndjson", *({"name": f"n{n}"} for n in range(2_000)))
    agent.mood = lambda a: fault if a.frames in {2, 3} else None
    assert importing.run("import", file) == 0
    assert sorted(name or "" for _, _, name in agent.stored) == sorted(
        f"n{n}" for n in range(2_000)
    )


def test_an_agent_that_is_restarted_gets_the_rest_and_keeps_everything_once(
    importing: Any, agent: Agent, tmp_path: Path
) -> None:
    def cut_after_three(counter: Agent) -> None:
        if counter.frames == 3:
            counter.hang_up()

    agent.mood = cut_after_three
    file = written(tmp_path / "f.ndjson", *({"name": f"n{n}"} for n in range(5_000)))
    assert importing.run("import", file) == 0
    assert [name for _, _, name in agent.stored] == [f"n{n}" for n in range(5_000)]
    assert importing.said.startswith("5,000 events safe")


def by_loopback(agent: Agent, port: int, token: str) -> Callable[[], Entrance]:
    """Return how to connect over loopback."""
    return lambda: Entrance(socket.create_connection(("127.0.0.1", port)), token)


def test_over_loopback_the_same_file_goes_as_requests_with_the_token(
    importing: Any, agent: Agent, tmp_path: Path
) -> None:
    importing.entrance = by_loopback(agent, agent.open_loopback("s3cret"), "s3cret")
    file = written(tmp_path / "f.ndjson", *({"name": f"n{n}"} for n in range(6_000)), {"name": ""})
    agent.mood = lambda a: OverQuota("too fast", retry_after_s=0.1) if a.frames == 3 else None
    assert importing.run("import", file) == 1
    assert importing.said.startswith("6,000 events safe")
    assert sorted(name or "" for _, _, name in agent.stored) == sorted(
        f"n{n}" for n in range(6_000)
    )
    assert "line 6001" in importing.complained
    assert importing.run("import", file, "--app", "ghost") == 64
    assert "no app is named ghost" in importing.complained


def test_over_loopback_a_wrong_token_ends_the_import_at_once(
    importing: Any, agent: Agent, tmp_path: Path
) -> None:
    importing.entrance = by_loopback(agent, agent.open_loopback("s3cret"), "guess")
    assert importing.run("import", written(tmp_path / "f", {"name": "x"})) == 64
    assert "HTTP 404" in importing.complained
    assert not agent.stored


def test_an_app_that_the_agent_does_not_know_ends_the_import_with_its_words(
    importing: Any, agent: Agent, tmp_path: Path
) -> None:
    agent.mood = lambda _: RequestFault("no app is named ghost", status=404)
    assert importing.run("import", written(tmp_path / "f", {"name": "x"}), "--app", "ghost") == 64
    assert importing.complained == "homing: no app is named ghost\n"
    assert importing.said.startswith("0 events safe")


def test_an_agent_that_never_comes_back_is_given_up_with_what_to_do(tmp_path: Path) -> None:
    calls = iter([True, False, False, False, False])
    ours, theirs = socket.socketpair()
    theirs.close()

    def connect() -> Entrance:
        if next(calls):
            return Entrance(ours)
        raise AgentGone("no agent is running for this user")

    item = Item(line=1, app_id="a", id="x", raw=b'{"id":"x","name":"y"}')
    work = deliver(connect, batches(iter([item])), print, print, patience_s=0.6)
    with contextlib.closing(ours), pytest.raises(AgentGone, match="no agent"):
        asyncio.run(work)


def test_no_agent_and_no_file_are_told_before_anything_happens(desk: Any, tmp_path: Path) -> None:
    desk.door = None
    file = written(tmp_path / "f", {"name": "x"})
    assert desk.run("import", file, "--app", "a") == 69
    assert desk.run("import", file) == 69
    assert desk.run("import", str(tmp_path / "missing")) == 64
    assert desk.run("import", str(tmp_path)) == 64
    os.mkfifo(tmp_path / "pipe")
    keep = os.open(tmp_path / "pipe", os.O_RDWR)  # so that opening it does not wait
    assert desk.run("import", str(tmp_path / "pipe")) == 64
    os.close(keep)
    assert "is not a file" in desk.complained


def test_ctrl_c_says_how_to_go_on(agent: Agent, tmp_path: Path) -> None:
    """A real process, a real SIGINT in the middle, and a second run that completes it."""
    heard = threading.Event()

    def slow(counter: Agent) -> Fault | None:
        heard.set()
        return OverQuota("later", retry_after_s=1.0) if counter.frames > 2 else None

    agent.mood = slow
    file = written(tmp_path / "f.ndjson", *({"name": f"n{n}"} for n in range(5_000)))
    code = (
        "import os, socket, sys; from agent.cli import main; from agent.cli.shell import Shell\n"
        "from agent.cli.entrance import Entrance; from agent.door import Sentence, Status\n"
        "class Door:\n"
        "    def status(self):\n"
        "        well = Sentence(state='live', text='')\n"
        "        return Status(at_ms=0, version='', pid=0, started_ms=0, sentence=well)\n"
        "def lane():\n"
        f"    s = socket.socket(socket.AF_UNIX); s.connect({str(agent.path)!r})\n"
        "    return Entrance(s)\n"
        "sys.exit(main(sys.argv[1:], Shell(out=sys.stdout, err=sys.stderr, inward=sys.stdin,"
        " env=os.environ, door=Door, entrance=lane)))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, "import", file, "--app", "a"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert heard.wait(20)
    child.send_signal(signal.SIGINT)
    said, complained = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "safe on this disk" in said
    assert complained == (
        "homing: interrupted\n        Import the file again to go on: nothing is stored twice.\n"
    )


def test_a_person_who_watches_sees_a_bar_and_a_clean_line_afterwards(
    importing: Any, agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("agent.cli.progress.REFRESH_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    importing.err = Watched()
    file = written(tmp_path / "f.ndjson", *({"name": f"n{n}"} for n in range(1_000)))
    threads = threading.active_count()
    assert importing.run("import", file) == 0
    assert "1,000 events" in importing.complained
    assert importing.complained.endswith("\x1b[2K"), "the bar is wiped away"
    assert threading.active_count() == threads
    assert "\x1b" not in importing.said
