"""Log lines on standard error: text for people, JSON for machines, payloads for nobody.

A line is a constant sentence and ``key=value``, written ``log.info("serving port=%d", port)``. What
is written of it is allow-listed: the sentence, which is a constant of this program, and the
fields named in :data:`FIELDS`. A field that is not named there is left out, and so is everything
that another library has to say but the constant it says it with: an event, a token or a person's
id that found its way into a log call or an exception does not find its way into the log
(SECURITY.md, threats 16 and 50). Of an exception the types and the places are written, never the
words.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Literal

#: What may follow a sentence: counts, sizes, times, places of this program; nothing a sender chose.
FIELDS = frozenset(
    {"bytes", "code", "collectors", "connections", "count", "days", "events", "format", "host"}
    | {"limit", "of", "port", "rows", "seconds", "spread_s", "to", "waiting"}
)
_log = logging.getLogger("collector.logs")
_OURS = ("collector", "tracking")
_VALUE = re.compile(r"\s*(?:\b([a-z_]+)=)?%[-0-9.]*[a-z]")  #: A field, or a value without a name.
_MOST_CHARS = 200


def begin(how: Literal["text", "json"], level: str) -> None:
    """Send all log lines of the process to standard error."""
    target = logging.StreamHandler(sys.stderr)
    target.setFormatter(JsonLines() if how == "json" else TextLines())
    root = logging.getLogger()
    root.addHandler(target)
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "asyncio"):  # a line for each connection that comes and goes
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # What Python itself would print of an exception has the exception's words in it.
    sys.excepthook = _died
    threading.excepthook = lambda end: _died(end.exc_type, end.exc_value, end.exc_traceback)


def _died(
    kind: type[BaseException], exc: BaseException | None, trace: TracebackType | None
) -> None:
    if exc is not None and not issubclass(kind, SystemExit):
        _log.critical("a thread died", exc_info=(kind, exc, trace))


def said(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Return the sentence of a record and the fields that may be written."""
    template = str(record.msg)
    if record.name.partition(".")[0] not in _OURS:
        return _line(template.partition("\n")[0]), {}
    args = record.args if isinstance(record.args, tuple) else ()
    fields: dict[str, object] = {}
    for at, key in enumerate(_VALUE.findall(template)):
        if key in FIELDS and at < len(args):
            value = args[at]
            fields[key] = value if isinstance(value, (int, float)) else _line(str(value))
    return _line(_VALUE.sub("", template)), fields


def raised(
    kind: type[BaseException] | None, trace: TracebackType | None
) -> dict[str, object] | None:
    """Return what may be written of an exception: its type, and where it passed."""
    if kind is None:
        return None
    places = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(trace)]
    return {"type": f"{kind.__module__}.{kind.__qualname__}", "places": places}


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        sentence, fields = said(record)
        line: dict[str, object] = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": sentence,
            **fields,
        }
        if record.exc_info and (error := raised(record.exc_info[0], record.exc_info[2])):
            line["error"] = error
        return json.dumps(line, ensure_ascii=True)


class TextLines(logging.Formatter):
    """One line for a person; of an exception one more per place."""

    def format(self, record: logging.LogRecord) -> str:
        sentence, fields = said(record)
        pairs = "".join(f" {key}={value}" for key, value in fields.items())
        line = f"{_stamp(record)} {record.levelname} {record.name}: {sentence}{pairs}"
        if record.exc_info and (error := raised(record.exc_info[0], record.exc_info[2])):
            places = error["places"]
            assert isinstance(places, list)
            line = "\n    ".join([line, "Traceback", *places, str(error["type"])])
        return line


def _stamp(record: logging.LogRecord) -> str:
    at = time.gmtime(record.created)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', at)}.{int(record.msecs):03d}Z"


def _line(text: str) -> str:
    """Return a text as one short line that neither forges another nor moves a cursor."""
    text = text if len(text) <= _MOST_CHARS else text[:_MOST_CHARS] + "…"
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
