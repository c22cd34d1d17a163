"""The language of the face: every sentence passes here, so that it can be translated.

Qt-free, because words are made and tested without Qt. :mod:`ui.app` puts Qt's translator and
the locale's separators in with :func:`speak`; until then the words are English as written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CONTEXT = "Homing"  #: Qt's translation context of every sentence.


def _as_written(text: str, _n: int) -> str:
    return text


@dataclass(slots=True)
class Manner:
    """How this computer's people read."""

    translate: Callable[[str, int], str] = _as_written
    group: str = ","  #: Between thousands.
    point: str = "."  #: Before decimals.
    mirrored: bool = False  #: From right to left.


_manner = Manner()


def manner() -> Manner:
    """Return the manner in use."""
    return _manner


def speak(
    translate: Callable[[str, int], str],
    *,
    group: str = ",",
    point: str = ".",
    mirrored: bool = False,
) -> None:
    """Change the language from now on; ``translate(text, n)`` gets -1 where nothing is counted."""
    _manner.translate = translate
    _manner.group, _manner.point, _manner.mirrored = group, point, mirrored


def speak_as_written() -> None:
    """Go back to English as written here."""
    speak(_as_written)


def tr(text: str, **values: object) -> str:
    """Return ``text`` in the person's language, its ``{names}`` filled in.

    Values may come from outside: they are put in after translation and are never formats.
    """
    said = _manner.translate(text, -1)
    return said.format(**values) if values else said


def trn(one: str, many: str, n: int, /, **values: object) -> str:
    """Return the form for ``n`` things; a translator may know more than two forms."""
    said = _manner.translate(many, n)
    if said == many and n == 1:
        said = one
    return said.format(**values)
