"""Files as apps leave them in the spool, well made and badly."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

DATE = "2026-11-21T01:34:28.124Z"


def header(app_id: str = "acme") -> bytes:
    return json.dumps({"spool": 1, "appId": app_id}).encode() + b"\n"


def lines(numbers: Iterable[int], *, by: str = "e") -> bytes:
    """Return events whose ids say who wrote them, and which they are."""
    return b"".join(
        json.dumps(
            {"id": f"{by}{n}", "date": DATE, "name": "step", "payload": {"n": n}},
            separators=(",", ":"),
        ).encode()
        + b"\n"
        for n in numbers
    )


def put(folder: Path, content: bytes, *, app_id: str = "acme", taken: bool = False) -> Path:
    """Leave a file as an app does that makes it at once: beside, then renamed."""
    digest = hashlib.sha256(app_id.encode()).hexdigest()[:16]
    name = f"{digest}-{os.urandom(8).hex()}.ndjson{'.taken' if taken else ''}"
    beside = folder / f".{name}"
    beside.write_bytes(content)
    beside.chmod(0o600)
    return beside.rename(folder / name)


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*words: Any, **more: Any) -> None:
        asyncio.run(test(*words, **more))

    return run
