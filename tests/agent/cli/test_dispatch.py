"""The way in: one table, one exit code per outcome, nothing loaded that is not needed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.cli import COMMANDS
from agent.cli.about import parser_of
from tracking.errors import (
    AgentGone,
    AgentRunning,
    Bug,
    Fault,
    RequestFault,
    SettingsFault,
    StorageFault,
)

HEAVY = {  # module: why a status line must not load it
    "PySide6": "a server has no display; Qt alone is 30 MiB",
    "ui": "the agent does not know that it has a face",
    "collector": "the far end is somebody else's process",
    "starlette": "the client of an API needs no server",
    "uvicorn": "the client of an API needs no server",
    "websocket": "only watching needs it",
    "rich": "a sentence needs no layout",
    "asyncio": "one question needs no loop",
    "sqlite3": "the outbox is the agent's alone",
    "keyring": "40 ms for secrets that a status does not have",
    "agent.runtime": "that is the agent itself",
    "agent.settings": "the running agent has read them",
}


def test_status_loads_nothing_that_a_status_line_does_not_need(home: Path) -> None:
    probe = (
        "import sys; from agent.cli import main; code = main(['status']); print(code, *sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    code, *loaded = ended.stdout.split()
    assert code == "69"
    assert not {f"{module}: {why}" for module, why in HEAVY.items() if module in loaded}


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_every_command_explains_itself_with_an_example(desk: Any, name: str) -> None:
    words = [name, "--help"] if name else ["--help"]
    assert desk.run(*words) == 0
    assert "usage: homing" in desk.said
    assert "example:\n  " in desk.said
    assert not desk.complained


def test_help_names_every_command(desk: Any) -> None:
    assert desk.run("help") == 0
    everything = desk.said
    assert desk.run("--help") == 0
    assert desk.said == everything
    for name in (*COMMANDS, "collector"):
        assert re.search(rf"^  {name} ", everything, re.MULTILINE)
    assert desk.run("help", "import") == 0
    assert desk.said.startswith("usage: homing import")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["stats"], "`homing status`"),
        (["colector"], "`homing collector`"),
        (["xyzzy"], "`homing --help`"),
        (["status", "--jsno"], "Did you mean --json?"),
        (["outbox", "exprt", "f"], "did you mean export?"),
        (["pause", "--for", "soon"], "30m, 1h"),
        (["pause", "--for", "0s"], "30m, 1h"),
        (["wire", "--limit", "0"], "from 1 up"),
        (["send"], "NAME"),
        (["send", "x", "--timeout", "-1"], "seconds"),
        (["--frobnicate"], "nothing here is named --frobnicate"),
        (["help", "statsu"], "did you mean status?"),
    ],
)
def test_a_typing_error_is_exit_64_with_the_nearest_word(
    desk: Any, words: list[str], advice: str
) -> None:
    assert desk.run(*words) == 64
    assert desk.complained.startswith("homing: ")
    assert advice in desk.complained
    assert not desk.said
    assert not desk.door.asked


def test_the_version_is_told_in_words_and_in_json(desk: Any) -> None:
    assert desk.run("--version") == 0
    assert re.fullmatch(r"homing \d+\.\d+\.\d+\S* \(Python [\d.]+\S*\)\n", desk.said)
    assert desk.run("version", "--json") == 0
    assert set(json.loads(desk.said)) == {"homing", "python"}


NEEDS_AN_AGENT = [
    ["status"],
    ["apps"],
    ["wire"],
    ["top"],
    ["top", "--once"],
    ["tail"],
    ["send", "hello"],
    ["pause"],
    ["resume"],
    ["retry"],
    ["keep-here"],
    ["stop"],
    ["outbox"],
    ["outbox", "export", "-"],
    ["outbox", "retry"],
    ["outbox", "drop", "--yes"],
]


@pytest.mark.parametrize("words", NEEDS_AN_AGENT, ids=" ".join)
def test_without_an_agent_the_answer_is_69_and_how_to_start_one(
    desk: Any, words: list[str]
) -> None:
    desk.door = None
    assert desk.run(*words) == 69
    assert desk.complained == (
        "homing: no agent is running for this user\n        Start it with `homing`.\n"
    )
    assert not desk.said


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (AgentGone("gone"), 69),
        (AgentRunning("process 7 holds the lock"), 75),
        (SettingsFault("outbox.max_mib is 0"), 78),
        (RequestFault("no app is named x"), 64),
        (StorageFault("the disk is full"), 1),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_each_fault_has_its_exit_code_and_is_told_in_one_sentence(
    desk: Any, fault: Fault, code: int
) -> None:
    def raising() -> None:
        raise fault

    desk.door.status = raising
    assert desk.run("status") == code
    assert desk.complained == f"homing: {fault}\n"


def test_a_fault_that_names_several_things_has_a_line_for_each(desk: Any) -> None:
    def raising() -> None:
        raise SettingsFault("a is wrong\nb\x1b[2J is wrong", advice="Edit it.")

    desk.door.status = raising
    assert desk.run("status") == 78
    assert desk.complained == ("homing: a is wrong\n        b␛[2J is wrong\n        Edit it.\n")


def test_a_bug_keeps_its_traceback_and_is_exit_70(desk: Any) -> None:
    def raising() -> None:
        raise Bug("two sockets")

    desk.door.status = raising
    assert desk.run("status") == 70
    assert "Traceback" in desk.complained
    assert "two sockets" in desk.complained


def test_ctrl_c_is_quiet_and_exit_130(desk: Any) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    desk.door.status = interrupted
    assert desk.run("status") == 130
    assert not desk.said + desk.complained


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_went_away_is_quiet(desk: Any) -> None:
    desk.out = Closed()
    assert desk.run("status") == 141
    assert not desk.complained


def test_a_real_broken_pipe_leaves_no_trace_on_stderr() -> None:
    ears, mouth = os.pipe()
    os.close(ears)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "homing", "help"],
            stdout=mouth,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(mouth)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_old_locale_is_no_reason_to_fail(home: Path) -> None:
    code = (
        "import sys; from agent.cli import main, own_shell; own_shell().say('a → b');"
        "sys.exit(main(['help']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert ended.stdout.startswith(b"a \\u2192 b\nusage: homing")


def test_the_command_on_the_path_is_this_one(home: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "homing", "status"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 69
    assert ended.stderr.startswith("homing: no agent is running for this user\n")


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_the_documentation_has_every_command_option_and_example(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text("utf-8")
    title = f"## `homing {name}`" if name else "## `homing`"
    assert f"{title}\n" in page
    section = page.partition(f"{title}\n")[2].partition("\n## ")[0]
    parser = parser_of(name)
    for action in parser._actions:
        for option in action.option_strings:
            if option not in ("-h", "--help"):
                assert f"`{option}" in section, f"{option} of {name}"
        if not action.option_strings:
            metavar = action.metavar or action.dest
            assert metavar in section, f"{metavar} of {name}"
    if "--json" in parser._option_string_actions:
        assert "`--json`" in section
    assert "```" in section


def test_commands_that_print_facts_print_json_too() -> None:
    without = {name for name in COMMANDS if "--json" not in parser_of(name)._option_string_actions}
    assert without == {"agent", "top", "stop", "help"}


@pytest.fixture
def fake_host(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Stand in for the agent itself: remember how it was started."""
    import types

    calls: list[Any] = []

    def install(code: int) -> list[Any]:
        module = types.ModuleType("agent.host")

        def run_headless(env: dict[str, str], *, supervisor: Any, flags: dict[str, Any]) -> int:
            calls.append((env["HOMING_HOME"], supervisor, flags))
            return code

        module.run_headless = run_headless  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "agent.host", module)
        return calls

    return install


def test_the_headless_agent_gets_the_environment_and_its_code_is_ours(
    desk: Any, fake_host: Callable[..., list[Any]]
) -> None:
    calls = fake_host(75)
    assert desk.run("agent") == 75
    assert desk.run("agent", "--keep-here") == 75
    assert calls == [
        (str(desk.home), None, {}),
        (str(desk.home), None, {"far_end.keep_here": "yes"}),
    ]


def test_notify_without_a_service_manager_runs_all_the_same(
    desk: Any, fake_host: Callable[..., list[Any]]
) -> None:
    calls = fake_host(0)
    assert desk.run("agent", "--notify") == 0
    assert "NOTIFY_SOCKET" in desk.complained
    assert calls[0][1] is None


def test_a_tray_without_a_display_or_a_terminal_says_what_to_run(desk: Any) -> None:
    assert desk.run() == 1
    assert "no display" in desk.complained
    assert "homing agent" in desk.complained


def test_a_tray_with_a_display_is_the_faces_business(desk: Any) -> None:
    shown: list[Any] = []

    def face(env: Mapping[str, str], keep_here: bool) -> int:
        shown.append((env["DISPLAY"], keep_here))
        return 0

    desk.face, desk.env = face, {"DISPLAY": ":1"}
    assert desk.run() == 0
    assert desk.run("--keep-here") == 0
    assert shown == [(":1", False), (":1", True)]


def test_a_tray_without_qt_names_the_extra(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PySide6", None)
    assert desk.run() == 1
    assert "pip install homing[tray]" in desk.complained


@pytest.mark.parametrize("words", [["status", "--json"], ["tail"]], ids=" ".join)
def test_sigint_ends_a_real_command_without_a_traceback(words: list[str]) -> None:
    code = (
        "import sys, time, os; from agent.cli import main\n"
        "from agent.cli.shell import Shell\n"
        "def door():\n"
        "    print('ready', flush=True); time.sleep(60)\n"
        f"sys.exit(main({words!r}, Shell(out=sys.stdout, err=sys.stderr, inward=sys.stdin,"
        " env=os.environ, door=door, entrance=door)))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, complained = child.communicate(timeout=20)
    assert (child.returncode, complained) == (130, "")


def test_output_without_room_is_told_in_a_sentence(home: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "homing", "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "homing: the output cannot be written: No space left on device\n"


def test_closed_streams_are_no_mistake_of_ours(home: Path) -> None:
    command = f"exec {sys.executable} -m homing version <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
