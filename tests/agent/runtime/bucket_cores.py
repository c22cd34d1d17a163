"""A core with an upstream that speaks Bucket, and far ends over HTTP that a test plans."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from agent.rules.backoff import Backoff
from agent.rules.notices import State
from agent.runtime.ways.posting import Posting
from tests.agent.link.far_ends import RawFarEnd
from tests.agent.link.http_ends import Answers, Request, response
from tests.agent.runtime.cores import Clocks, Running, started, until

KEY = "trCqx4DGo1lk3Lcct5NHLjWy"
AT_ONCE = Backoff(base_s=0.01, cap_s=0.05)


@contextmanager
def http_end(*plan: bytes | Callable[[Request], bytes | None] | None) -> Iterator[Answers]:
    """Run a far end that answers in turn, the last answer for ever; ``url`` is where it is."""
    answers = Answers(list(plan) or [response()])
    end = RawFarEnd(answers)
    answers.url = f"http://127.0.0.1:{end.port}"
    try:
        yield answers
    finally:
        end.stop()


def upstream(folder: Path, kind: str, endpoint: str, *more: str, key: str = KEY) -> str:
    """Return the settings of app ``acme`` with one upstream whose key is in a file."""
    file = folder / "bucket.key"
    file.write_text(f"{key}\n")
    file.chmod(0o600)
    lines = [
        '[[apps]]\nid = "acme"\nname = "acme"\nversion = "1"\nspeaks = ["nucleus", "bucket"]',
        f'[[apps.upstreams]]\nkind = "{kind}"\nendpoint = "{endpoint}"\nkey_file = "{file}"',
        'leave_out = ["channel-status-event", "feature-flag-event", "prompt-event"]'
        if kind == "bucket"
        else "",
        *more,
    ]
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def posting(
    folder: Path,
    kind: str,
    endpoint: str,
    *more: str,
    clocks: Clocks | None = None,
    key: str = KEY,
) -> AsyncIterator[tuple[Running, Posting]]:
    """Run a core with app ``acme`` and one upstream; its waits are short unless told otherwise."""
    async with started(folder, upstream(folder, kind, endpoint, *more, key=key), clocks) as here:
        way = way_of(here)
        way.rule.backoff = AT_ONCE
        yield here, way


def way_of(here: Running, name: str | None = None) -> Posting:
    """Return the way out that posts."""
    ways = [one for one in here.core.departures.of("acme") if isinstance(one, Posting)]
    (found,) = [one for one in ways if name in (None, one.way.name)]
    return found


def pending(here: Running, way: Posting) -> int:
    return int(here.core.outbox.account(way.stream).pending)


async def delivered(here: Running, way: Posting) -> None:
    """Wait until nothing waits on the way."""
    await until(lambda: pending(here, way) == 0)


async def in_state(way: Posting, state: State) -> None:
    await until(lambda: way.rule.state is state)


def items_of(answers: Answers) -> list[dict[str, Any]]:
    """Return the calls that a far end was told, in order, repeats too."""
    found: list[dict[str, Any]] = []
    for request in answers.requests:
        said = json.loads(request.body)
        found += said if isinstance(said, list) else [said]
    return found
