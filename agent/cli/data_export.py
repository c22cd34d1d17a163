"""`homing data export`: everything that is held, as one NDJSON file.

    {"what": "homing.data", "version": 1, "apps": […], "exportedAt": …}        the manifest
    {"what": "app", …}  {"what": "event", …}  {"what": "deadLetter", …}  {"what": "wire", …}
    {"what": "end", "counts": {…}, "sha256": …}        of all lines before, so a cut file shows

What waits is streamed, and the record of the wire read page by page, so the memory that is needed
does not grow with what is held.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from agent.cli.progress import progress_on
from agent.cli.shell import OK, Shell, UsageFault
from agent.cli.streaming import stream_events
from agent.door.wire import MOST_ENTRIES, ReadWire
from agent.door.your_data import ReadDeletions, ReadHeld
from agent.rules.wording import count

if TYPE_CHECKING:
    from agent.door import Door
    from agent.door.your_data import HeldApp

VERSION = 1
MOST_LETTERS = 10_000
WIRE_PAGE = 500
Line = dict[str, Any]


def export(app_id: str | None, file: Path, shell: Shell, *, to_output: bool) -> int:
    """Write the file, or to the output; a half one does not stay."""
    door = shell.door()
    held = door.ask(ReadHeld(app_id=app_id)).apps
    lines = _lines(door, shell, app_id, held)
    waiting = sum(a.pending_bytes for a in door.status().apps if app_id in (None, a.app_id))
    if to_output:
        counts = _write(lines, shell.out, shell, waiting)
    else:
        counts = _write_file(lines, file, shell, waiting)
    where = "" if to_output else f" to {file}"
    told = ", ".join(f"{count(n)} {what}" for what, n in counts.items())
    shell.err.write(f"exported{where}: {told}\n")
    return OK


def _lines(
    door: Door, shell: Shell, app_id: str | None, held: tuple[HeldApp, ...]
) -> Iterator[Line]:
    """Yield what is held, the manifest first."""
    yield {
        "what": "homing.data",
        "version": VERSION,
        "exportedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "apps": [app.app_id for app in held],
    }
    for app in held:
        yield {"what": "app"} | _readable(msgspec.to_builtins(app))
    for app in held:
        for raw in stream_events(shell.entrance(), app.app_id):
            yield {"what": "event", "appId": app.app_id, "event": msgspec.Raw(raw)}
        for path in app.spool:
            yield from _spooled(app.app_id, Path(path))
    for letter in door.dead_letters(app_id=app_id, limit=MOST_LETTERS):
        yield {"what": "deadLetter"} | msgspec.to_builtins(letter)
    for request in door.ask(ReadDeletions()).requests:
        if app_id in (None, request.app_id):
            yield {"what": "deletion"} | msgspec.to_builtins(request)
    want = ReadWire(app_id=app_id, limit=min(WIRE_PAGE, MOST_ENTRIES))
    while True:
        page = door.ask(want)
        for entry in page.entries:
            yield {"what": "wire"} | msgspec.to_builtins(entry)
        if not page.more or not page.entries:
            return
        want = msgspec.structs.replace(want, before=page.entries[-1].n)


def _spooled(app_id: str, path: Path) -> Iterator[Line]:
    """Yield the lines of a file of the spool; it may be taken in meanwhile."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), errors="replace") as file:
            for line in file:
                said = {"what": "spooled", "appId": app_id, "file": path.name}
                yield said | {"line": line.rstrip("\n")}
    except FileNotFoundError:
        return


def _readable(app: Line) -> Line:
    """Return an app with what is JSON text in it as JSON."""
    for key in ("profile", "shapes"):
        if app.get(key):
            app[key] = msgspec.json.decode(app[key])
    return app


def _write(lines: Iterator[Line], out: TextIO, shell: Shell, waiting: int) -> Counter[str]:
    """Write the lines and the last one; ``waiting`` is how many bytes of events are expected."""
    seal, counts, done = hashlib.sha256(), Counter[str](), 0

    def put(line: Line) -> int:
        raw = msgspec.json.encode(line) + b"\n"
        seal.update(raw)
        out.write(raw.decode())
        return len(raw) if line["what"] == "event" else 0

    with progress_on(shell.err, max(waiting, 1)) or contextlib.nullcontext() as bar:
        for line in lines:
            done += put(line)
            counts[line["what"]] += 1
            if bar is not None:
                bar.show(done, counts["event"], 0)
    del counts["homing.data"]
    put({"what": "end", "counts": dict(counts), "sha256": seal.hexdigest()})
    return counts


def _write_file(lines: Iterator[Line], path: Path, shell: Shell, waiting: int) -> Counter[str]:
    """Write a file that did not exist, for its owner alone."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as exc:
        raise UsageFault(f"{path} cannot be written: {exc.strerror or exc}") from exc
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            return _write(lines, file, shell, waiting)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
