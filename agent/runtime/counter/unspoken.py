"""Who reports in a language that the settings do not name for it, and the words that say so.

Such a report is refused, and official Bucket clients throw away what is refused (BUCKET.md §5). A
yes to the app does not change that, only ``speaks`` in the settings does; so whoever allows an app
is told, and the status goes on saying it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agent.door import Notice
from agent.rules.consent import Consent
from agent.rules.ways import Language
from agent.runtime.counter.desk import Desk

CODE: Final = "apps.speaks"
MOST_APPS: Final = 100  #: That nobody allowed and whose language is remembered.
NAMED_IN_A_NOTICE: Final = 3


class Tongues:
    """Which apps that nobody allowed came with Bucket's words; bounded, in memory only."""

    def __init__(self, most: int = MOST_APPS) -> None:
        self.most = most
        self._bucket: dict[str, None] = {}

    def heard(self, app_id: str, language: Language) -> None:
        """Remember what an app spoke that was turned away; the oldest is forgotten first."""
        if language == "bucket":
            self._bucket.pop(app_id, None)
            self._bucket[app_id] = None
            if len(self._bucket) > self.most:
                del self._bucket[next(iter(self._bucket))]

    def remark(self, app_id: str, desk: Desk | None) -> str:
        """Return what a person who allows an app has to know of its language; empty if nothing."""
        if desk is None:
            return ""
        languages: set[Language] = {*desk.unspoken}
        if app_id in self._bucket:
            languages.add("bucket")
        languages -= desk.speaks
        if not languages:
            return ""
        words = " and ".join(sorted(one.capitalize() for one in languages))
        return (
            f" It came with the words of {words}, and those are refused and lost until you say"
            f" so: {to_write(desk, languages)} Then start the agent again."
        )


def to_write(desk: Desk, languages: Iterable[Language]) -> str:
    """Return the line of the settings that lets an app speak these languages too."""
    spoken = ", ".join(f'"{one}"' for one in sorted({*desk.speaks, *languages}))
    return f'Write speaks = [{spoken}] beneath id = "{desk.app_id}" in homing.toml.'


def notices_of(desks: Iterable[Desk]) -> tuple[Notice, ...]:
    """Return the notice of allowed apps whose reports are refused for their language, or none."""
    found = [desk for desk in desks if desk.unspoken and desk.consent is Consent.ALLOWED]
    if not found:
        return ()
    first = found[0]
    if len(found) == 1:
        words = " and ".join(sorted(one.capitalize() for one in first.unspoken))
        said = f"What {first.app_id} reports in the words of {words} is refused and lost."
        text = f"{said} {to_write(first, first.unspoken)}"
    else:
        more = len(found) - NAMED_IN_A_NOTICE
        named = ", ".join(desk.app_id for desk in found[:NAMED_IN_A_NOTICE])
        tail = f" and {more} more" if more > 0 else ""
        text = (
            f"What {named}{tail} report is refused in part and lost: `speaks` in homing.toml does"
            " not name their language."
        )
    since_ms = min(ms for desk in found for ms in desk.unspoken.values())
    return (Notice(code=CODE, text=text, severity="warning", since_ms=since_ms),)
