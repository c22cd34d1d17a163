"""A parser whose refusals are faults: exit code 64, and the nearest word that would have done."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NoReturn, TextIO

from agent.cli.shell import UsageFault

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)\s*")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
LONGEST_PAUSE_S = 366 * 86400.0


class Parser(argparse.ArgumentParser):
    """The parser of one command.

    Args:
        name: The command, as typed after ``homing``.
        summary: What it is for, in one sentence.
        example: Lines that a person can copy, with what they do.

    """

    def __init__(self, name: str, summary: str, example: str) -> None:
        super().__init__(
            prog=f"homing {name}".rstrip(),
            description=summary,
            epilog=f"example:\n{_indented(example)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # --j would become a promise
        )
        self.out: TextIO | None = None  #: Where ``--help`` goes; standard output if None.

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help to the command's own output."""
        super().print_help(self.out if file is None else file)

    def error(self, message: str) -> NoReturn:
        """Refuse; argparse would exit with 2."""
        advice = f"See `{self.prog} --help`."
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            words = message.removeprefix(prefix).split()
            message = f"nothing here is named {' '.join(words)}"
            near = nearest(words[0].partition("=")[0], self._option_string_actions)
            if near:
                advice = f"Did you mean {near}? {advice}"
        raise UsageFault(message, advice=advice)

    def json_option(self) -> None:
        """Add the option that every command has which prints facts."""
        self.add_argument("--json", action="store_true", help="print JSON instead of words")

    def app_option(self, what: str) -> None:
        """Add the option that chooses an app."""
        self.add_argument("--app", metavar="ID", type=text, help=what)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def one_of(*words: str) -> Callable[[str], str]:
    """Return an argument type that accepts these words and suggests the nearest."""

    def read(text: str) -> str:
        if text in words:
            return text
        near = nearest(text, words)
        hint = f", did you mean {near}?" if near else f"; it is one of {', '.join(words)}"
        raise argparse.ArgumentTypeError(f"{text!r} is not known{hint}")

    return read


def text(word: str) -> str:
    """Read a word that will travel as UTF-8; a shell hands on any bytes."""
    try:
        word.encode()
    except UnicodeEncodeError as exc:
        raise argparse.ArgumentTypeError(f"{word!r} is not text in UTF-8") from exc
    return word


def duration_s(text: str) -> float:
    """Read ``90s``, ``30m``, ``1h``, ``2d`` or ``1h30m`` as seconds."""
    total, at = 0.0, 0
    while match := _SPAN.match(text, at):
        total += float(match[1]) * _SECONDS[match[2]]
        at = match.end()
    if at != len(text) or not 0 < total <= LONGEST_PAUSE_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 30m, 1h, 1h30m or 2d")
    return total


def at_least_one(text: str) -> int:
    """Read a number of things to show."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10_000_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
