"""A heartbeat says whose it is, or it is none."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from agent.adapters.machine.secrets import Secrets
from tests.agent.runtime.cores import far_end, running, short_folder, until


def test_no_heartbeat_without_a_name_is_sent_while_the_keyring_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, real = threading.Event(), Secrets.device_key

    def slow(self: Secrets) -> Any:
        assert opened.wait(20)
        return real(self)

    monkeypatch.setattr(Secrets, "device_key", slow)

    async def main() -> None:
        with short_folder() as folder:
            async with far_end() as far, running(folder, acme=far.endpoint) as agent:
                await until(lambda: bool(far.connections))
                await until(lambda: agent.delivery().rule.state.value == "live")
                assert far.heartbeats() == 0
                opened.set()
                await until(lambda: far.heartbeats() == 1)
                await agent.report("one")
                await until(lambda: agent.account().delivered == 2)
        said = [event for frame in far.frames for event in frame]
        assert {event["deviceId"] for event in said} != set()
        assert all(event["deviceId"] for event in said)
        assert all(event["machineId"] for event in said if event["type"] == "heartbeat")

    asyncio.run(main())
