"""What the window asks of a far end leaves this machine, too: it is in the record of the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from agent.door.wire import ReadWire
from tests.agent.runtime.cores import short_folder, started, until


def test_a_look_at_the_far_end_is_noted_without_its_token(
    tmp_path: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.secrets")
    token = tmp_path / "token"
    token.write_text("tOkEn-0123456789")
    token.chmod(0o600)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno")
        writer.close()

    async def scenario(folder: Path) -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            written = (
                '[[apps]]\nid = "acme"\nname = "Acme"\n[[apps.upstreams]]\nkind = "nucleus"\n'
                f'endpoint = "ws://127.0.0.1:9"\ndata_api = "http://127.0.0.1:{port}"\n'
                f'token_file = "{token}"\n'
            )
            async with started(folder, written) as here:
                await until(lambda: here.core.farsight.api is not None)
                here.core.farsight.want(wanted=True)
                look = ReadWire(app_id="acme", search="quickglance")
                await until(lambda: bool(here.core.wire.page(look).entries))
                await until(lambda: bool(here.core.wire.page(look).entries[0].verdict))
                (asked,) = here.core.wire.page(look).entries
                assert asked.verdict == "refused: 503 Busy"
                assert "Authorization: ***" in asked.text
                here.core.farsight.want(wanted=False)

    with short_folder() as folder:
        asyncio.run(scenario(folder))
