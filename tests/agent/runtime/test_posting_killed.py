"""SIGKILL while a question is under way: a far end that knows the key keeps each call once."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.link.http_ends import Request
from tests.agent.runtime.bucket_cores import delivered, http_end, posting
from tests.agent.runtime.cores import short_folder
from tests.collector.bucket_ends import BucketApp, BucketEnd, post

ROOT = Path(__file__).parents[3]
KILLED = """
import asyncio, sys
from pathlib import Path
from tests.agent.runtime.bucket_cores import posting
from tests.agent.runtime.cores import until

async def main():
    folder, url, key = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    async with posting(folder, "bucket-bulk", url, key=key) as (here, way):
        three = [{"type": "event", "event": f"e{n}", "userId": "u"} for n in range(3)]
        await here.call("bulk", three)
        await until(lambda: way.rule.in_flight == 3)
        for n in (3, 4):
            await here.call("event", {"event": f"e{n}", "userId": "u"})
        print("accepted", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def folder(expected_warnings: Callable[..., None]) -> Iterator[Path]:
    expected_warnings("agent.secrets")
    with short_folder() as path:
        yield path


def test_calls_that_were_told_before_the_kill_are_told_again_as_the_same_question(
    folder: Path, tmp_path: Path
) -> None:
    end = BucketEnd(tmp_path)
    try:
        app = BucketApp(end)
        stored = threading.Event()
        let_go = threading.Event()

        def keeps_and_is_silent(request: Request) -> None:
            status, _ = post(end.port, request.path, request.body, _headers(request))
            assert status == 200
            stored.set()
            let_go.wait(30)

        with (
            http_end(keeps_and_is_silent) as far,
            subprocess.Popen(
                [sys.executable, "-c", KILLED, folder, far.url, app.secret],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            ) as agent,
        ):
            assert agent.stdout is not None
            assert agent.stdout.readline() == "accepted\n"
            assert stored.wait(10)
            agent.send_signal(signal.SIGKILL)
            agent.wait()
            let_go.set()
        asked = [json.loads(one.body) for one in far.requests]
        assert [len(one) for one in asked] == [3]

        async def after() -> None:
            url = f"http://127.0.0.1:{end.port}"
            async with posting(folder, "bucket-bulk", url, key=app.secret) as (here, way):
                await delivered(here, way)
                assert way.rule.asked == 2, "the old question as it was, then the rest"

        asyncio.run(after())
        assert sorted(event.name for event in app.held.events) == [f"e{n}" for n in range(5)]
    finally:
        end.stop()


def _headers(request: Request) -> dict[str, str]:
    return {key: value for key, value in request.headers.items() if key != "content-length"}
