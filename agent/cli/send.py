"""`homing send`: report one event, and say what was promised for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.cli.parser import one_of, text
from agent.cli.shell import DEGRADED, OK, Shell, UsageFault
from agent.rules.wording import span, visible

if TYPE_CHECKING:
    from agent.cli.parser import Parser

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024  #: Of a file; the agent's own limit is far lower.
LONGEST_WAIT_S = 86400.0


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `send`."""
    parser.add_argument(
        "name", metavar="NAME", type=text, help="what happened, as in build.finished"
    )
    parser.app_option("the app that reports; without it $HOMING_APP, or the settings' first")
    parser.add_argument(
        "--payload",
        metavar="JSON|@FILE|-",
        help="the event's own properties: a JSON object, a file that holds one, or standard input",
    )
    parser.add_argument(
        "--type",
        metavar="T",
        type=text,
        default="event",
        help="event (default), error, userid, props, …",
    )
    parser.add_argument(
        "--wait",
        type=one_of("durable", "delivered"),
        default="durable",
        metavar="LEVEL",
        help="durable: on this disk (default); delivered: confirmed by the far end",
    )
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=30.0, help="seconds to wait at most (30)"
    )
    parser.json_option()
    parser.set_defaults(run=send)


def send(args: argparse.Namespace, shell: Shell) -> int:
    """Report one event; degraded if it was to be delivered and is not yet."""
    payload = None if args.payload is None else _payload(args.payload, shell)
    sent = shell.door().send(
        args.name,
        app_id=args.app or shell.env.get("HOMING_APP") or None,
        payload=payload,
        type=args.type,
        wait=args.wait,
        timeout_s=args.timeout,
    )
    missed = args.wait == "delivered" and not sent.delivered
    if args.json:
        shell.json(sent)
    elif sent.delivered:
        shell.say(f"Delivered: the far end confirmed {visible(' '.join(sent.ids))}.")
    else:
        shell.say(f"Accepted: {visible(' '.join(sent.ids)) or 'it'} is safe on this disk.")
    if missed:
        shell.complain(
            f"the far end has not confirmed it within {span(args.timeout)}",
            "It is safe here and will be sent; see `homing status`.",
        )
    return DEGRADED if missed else OK


def _payload(said: str, shell: Shell) -> dict[str, Any]:
    if said == "-":
        where, raw = "standard input", _standard_input(shell)
    elif said.startswith("@"):
        where, raw = said[1:], _file(Path(said[1:]))
    else:
        where, raw = "--payload", said.encode("utf-8", "surrogateescape")
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise UsageFault(f"{where} holds more than {MAX_PAYLOAD_BYTES} bytes")
    try:
        payload = msgspec.json.decode(raw)
    except RecursionError:
        raise UsageFault(f"{where} is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UsageFault(
            f"{where} is not JSON: {exc}",
            advice="A payload looks like '{\"seconds\": 41}', in single quotes for the shell.",
        ) from exc
    if not isinstance(payload, dict):
        raise UsageFault(f"{where} must be a JSON object, got {type(payload).__name__}")
    return payload


def _standard_input(shell: Shell) -> bytes:
    """Read bytes: what is no text at all is to be refused as JSON, not as a mistake of ours."""
    binary = getattr(shell.inward, "buffer", None)
    if binary is None:  # a stream of text, as a caller in this process may give
        return shell.inward.read(MAX_PAYLOAD_BYTES + 1).encode()
    raw: bytes = binary.read(MAX_PAYLOAD_BYTES + 1)
    return raw


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PAYLOAD_BYTES + 1)
    except OSError as exc:
        raise UsageFault(f"{path} cannot be read: {exc.strerror}") from exc


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_WAIT_S:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds from 0 to 86400")
    return seconds
