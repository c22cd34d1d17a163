"""Single keys from a terminal, and the terminal given back as it was, whatever happens."""

from __future__ import annotations

import os
import re
import termios
import tty
from types import TracebackType
from typing import Self, TextIO

#: What arrows and function keys send (ECMA-48 §5.4); their letters are no commands.
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)


class Keyboard:
    """Reads keys without waiting for Enter and without showing them.

    A context manager: the terminal's settings are restored on the way out, also by
    an exception. :meth:`rest` and :meth:`resume` do the same around a suspension (Ctrl-Z).
    """

    def __init__(self, inward: TextIO) -> None:
        self.descriptor = inward.fileno()
        self._before = termios.tcgetattr(self.descriptor)

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rest()

    def resume(self) -> None:
        """Take the keys. Signals (Ctrl-C, Ctrl-Z) stay the terminal's business."""
        tty.setcbreak(self.descriptor, termios.TCSADRAIN)

    def rest(self) -> None:
        """Give the terminal back as it was found."""
        try:
            termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self._before)
        except termios.error:
            return  # the terminal is gone, and nobody is left to mind

    def read(self) -> str | None:
        """Return the keys that wait, in lower case; None when the terminal is gone."""
        try:
            raw = os.read(self.descriptor, 64)
        except OSError:
            return None
        if not raw:
            return None
        return _SEQUENCE.sub(b"", raw).decode("ascii", "ignore").lower()
