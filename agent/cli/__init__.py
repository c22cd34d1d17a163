"""Everyday commands: a thin skin over the door.

``main`` finds the command in a table and imports that command's module and no other, because
`homing status` in a prompt or a status bar must be quick. Each module offers
``declare(name, parser)``, which adds the options of one command and leaves in
``parser.set_defaults(run=…)`` the function that carries it out.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent.cli.shell import (
    BUG,
    DEGRADED,
    INTERRUPTED,
    OK,
    PIPE_CLOSED,
    Shell,
    UsageFault,
    exit_code,
)
from tracking.errors import Fault

if TYPE_CHECKING:
    from agent.cli.entrance import Entrance
    from agent.door import Door


class Command(NamedTuple):
    """One line of `homing --help`, and where the command lives."""

    name: str
    module: str
    summary: str
    example: str


#: Where the output goes has no room left; files are the adapters' own, and already translated.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
HOSTS: tuple[list[str], ...] = ([], ["agent"])  #: These write more than their output.
_HERE = "agent.cli"
COMMANDS = {
    command.name: command
    for command in (
        Command(
            "agent",
            f"{_HERE}.start",
            "run the agent in the foreground, without a window",
            "homing agent            run until Ctrl-C or SIGTERM\n"
            "homing agent --notify   for a systemd unit of Type=notify",
        ),
        Command(
            "status",
            f"{_HERE}.show",
            "is it running, is it connected, what is queued; exit code 0 live, 1 degraded, 69 none",
            "homing status\nhoming status --json | jq -r .sentence.text",
        ),
        Command(
            "top",
            f"{_HERE}.top",
            "watch everything live in the terminal (q quits, p pauses, r resumes or retries)",
            "homing top\nhoming top --once   one snapshot, as when it is piped",
        ),
        Command(
            "send",
            f"{_HERE}.send",
            "report one event",
            "homing send build.finished --app acme-ci --payload '{\"seconds\": 41}'\n"
            "make 2>&1 | tail -1 | jq -R '{line: .}' | homing send make --payload - "
            "--wait delivered",
        ),
        Command(
            "import",
            f"{_HERE}.feed",
            "report the events of a file, one JSON object per line; importing twice stores once",
            "homing import events.ndjson --app acme-notes",
        ),
        Command(
            "tail",
            f"{_HERE}.tail",
            "print events as they pass, until Ctrl-C",
            "homing tail\nhoming tail --app acme-notes --json | jq .name",
        ),
        Command(
            "apps",
            f"{_HERE}.apps",
            "who reports here and who asks to: allow, deny, pause, resume, forget, show an app",
            "homing apps\n"
            'homing apps allow acme-notes --name "Acme Notes"\n'
            "homing apps deny acme-notes           drops what it reports, deletes what is kept\n"
            'homing apps pause --all --for 1h --reason "giving a talk"\n'
            "homing apps token acme-notes --gateway",
        ),
        Command(
            "upstreams",
            f"{_HERE}.upstreams",
            "where each app's events go; compare two in a dual run, switch, clear up what was left",
            "homing upstreams\n"
            "homing upstreams compare acme-notes --days 7\n"
            "homing upstreams switch acme-notes --to mine\n"
            "homing upstreams move acme-notes old --to mine",
        ),
        Command(
            "wire",
            f"{_HERE}.wire",
            "what left this machine and what came back, frame by frame",
            "homing wire --app acme-notes --limit 5\n"
            "homing wire --follow\n"
            "homing wire --search build.finished --since 2h --json | jq -r '.[].verdict'",
        ),
        Command(
            "outbox",
            f"{_HERE}.outbox",
            "what waits to be sent, and what the far end refused for good",
            "homing outbox list --dead\n"
            "homing outbox export rescued.ndjson   readable again by `homing import`\n"
            "homing outbox retry --app acme-notes  offer its dead letters again\n"
            "homing outbox drop --yes              delete the dead letters, counted as lost",
        ),
        Command(
            "lint",
            f"{_HERE}.lint",
            "what apps report, and what in it is new, odd or looks personal",
            "homing lint --app acme-notes\n"
            "homing lint shapes --event build.finished\n"
            "homing lint stubs --app acme-notes --language typescript > events.ts",
        ),
        Command(
            "redact",
            f"{_HERE}.redact",
            "what of events is taken away before it is written anywhere",
            "homing redact\n"
            'homing redact try \'{ path = "$.payload.email", action = "mask" }\'\n'
            "homing redact add --name mail --path '$.payload.email' --action mask \\\n"
            '  --example \'{"payload":{"email":"a@b.c"}}\' \'{"payload":{"email":"***"}}\'',
        ),
        Command(
            "pause",
            f"{_HERE}.steer",
            "pause sending; events are still accepted and kept (to drop them: homing apps pause)",
            'homing pause --for 1h30m --reason "giving a talk"',
        ),
        Command("resume", f"{_HERE}.steer", "send again", "homing resume"),
        Command(
            "retry",
            f"{_HERE}.steer",
            "dial now, instead of waiting for the next try or after a refusal",
            "homing retry --app acme-notes",
        ),
        Command(
            "keep-here",
            f"{_HERE}.steer",
            "keep events on this computer: start and supervise a far end of your own here",
            "homing keep-here",
        ),
        Command(
            "config",
            f"{_HERE}.config",
            "the settings: each value, where it came from, whether it is possible",
            "homing config show\n"
            "homing config check                  exit code 78 if something is impossible\n"
            "homing config set log.level debug    keeps your comments\n"
            '$EDITOR "$(homing config path)"',
        ),
        Command(
            "doctor",
            f"{_HERE}.doctor",
            "look for what is wrong, and say how to put it right",
            "homing doctor\nhoming doctor network   walk to each far end, name the failing hop\n"
            "homing doctor --json | jq '.[] | select(.verdict != \"ok\")'",
        ),
        Command(
            "network",
            f"{_HERE}.network",
            "proxies and their logins, whom the agent may contact, what waits for a better moment",
            "homing network hosts\n"
            "homing network proxy-login --user me   the password is asked for\n"
            "homing network override --for 1h       send everything, metered or not",
        ),
        Command(
            "data",
            f"{_HERE}.data",
            "your data: export all that is held, delete it, ask far ends to delete it",
            "homing data export mine.ndjson\n"
            "homing data delete --app acme-notes --remote   asks first, then the far end\n"
            "homing data requests                           what became of it\n"
            "homing data receipt ID > receipt.json",
        ),
        Command(
            "reconcile",
            f"{_HERE}.reconcile",
            "compare what a collector confirmed with what it holds",
            "homing reconcile\nhoming reconcile --json | jq '.[].text'",
        ),
        Command("stop", f"{_HERE}.steer", "stop the running agent", "homing stop"),
        Command(
            "wipe",
            f"{_HERE}.wipe",
            "stop the agent and delete all it keeps on this machine: events, secrets, settings",
            "homing wipe         asks first\nhoming wipe --yes   for scripts",
        ),
        Command(
            "version",
            f"{_HERE}.about",
            "print the version",
            "homing version\nhoming version --json",
        ),
        Command("help", f"{_HERE}.about", "what a command does", "homing help import"),
    )
}
TRAY = Command(
    "",
    f"{_HERE}.start",
    "Homing: product analytics from local apps, safe on disk before it says yes.\n"
    "Without a command it shows the tray, or a terminal view where there is no display.",
    "homing                  the tray\nhoming status           one look\n"
    "homing send hello       report an event",
)
COLLECTOR = ("collector", "the self-hosted far end; see `homing collector --help`")


def main(
    argv: Sequence[str] | None = None,
    shell: Shell | None = None,
    *,
    face: Callable[[Mapping[str, str], bool], int] | None = None,
) -> int:
    """Run one command and return its exit code; a fault becomes a sentence and a code.

    Args:
        argv: The words after `homing`; the process's own if None.
        shell: What the command may touch; the process's own if None.
        face: Shows the tray; given by the dispatcher, because only it may know the ui.

    """
    words = list(sys.argv[1:] if argv is None else argv)
    shell = shell or own_shell(face)
    try:
        code = _run(words, shell)
        shell.out.flush()
    except Fault as fault:
        shell.complain_of(fault)
        return exit_code(fault)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_the_pipe()
        return PIPE_CLOSED
    except Exception as exc:  # the border between us and the shell: a bug is exit code 70, not 1
        if isinstance(exc, OSError) and exc.errno in NO_ROOM and words[:1] not in HOSTS:
            _forget_the_pipe()
            shell.complain(f"the output cannot be written: {exc.strerror}")
            return DEGRADED
        import traceback

        traceback.print_exc(file=shell.err)
        shell.complain("this is a mistake of ours, not yours", "Please report the lines above.")
        return BUG
    return code


def own_shell(face: Callable[[Mapping[str, str], bool], int] | None = None) -> Shell:
    """Return the shell of this process."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an arrow is no reason to fail in an old locale
            stream.reconfigure(errors="backslashreplace")
    return Shell(
        out=sys.stdout,
        err=sys.stderr,
        inward=sys.stdin,
        env=os.environ,
        door=_running_agent,
        entrance=_entrance,
        face=face,
    )


def _open_what_is_closed() -> None:
    """Give a process that was started with ``>&-`` or ``<&-`` streams that lead nowhere."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives


def _running_agent() -> Door:
    from agent.client import find_door

    return find_door(os.environ)


def _entrance() -> Entrance:
    from agent.adapters.local.asking import open_socket
    from agent.cli.entrance import Entrance
    from agent.client import find_door

    address = find_door(os.environ).address
    token = "" if address.loopback is None else address.loopback.token
    return Entrance(open_socket(address, None), token)


def _run(words: list[str], shell: Shell) -> int:
    first = words[0] if words else ""
    if first in {"--version", "-V"}:
        return _run(["version", *words[1:]], shell)
    if first in {"--help", "-h"}:
        return _run(["help"], shell)
    command = TRAY if not first or first.startswith("-") else COMMANDS.get(first)
    if command is None:
        from agent.cli.parser import nearest

        near = nearest(first, (*COMMANDS, COLLECTOR[0]))
        hint = f"Did you mean `homing {near}`? " if near else ""
        raise UsageFault(
            f"there is no command {first!r}", advice=f"{hint}See `homing --help` for all."
        )
    from agent.cli.parser import Parser

    parser = Parser(command.name, command.summary, command.example)
    parser.out = shell.out
    importlib.import_module(command.module).declare(command.name, parser)
    try:
        args = parser.parse_args(words[1:] if command is not TRAY else words)
    except SystemExit:  # --help has been printed
        return OK
    code: int = args.run(args, shell)
    return code


def _forget_the_pipe() -> None:
    """Let the interpreter's own last flush of stdout go nowhere instead of failing."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # a stdout that is no file has nothing to forget
        return
