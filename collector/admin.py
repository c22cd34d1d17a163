"""What the command line asks a running server over ``admin.sock``: only this user can open it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from collector.access.accounts import Accounts
from collector.intake.rows import exported
from collector.store.interface import Store

Endpoint = Callable[[Request], object]


def admin_routes(accounts: Accounts, store: Store, status: Callable[[], object]) -> list[Route]:
    """Return the routes of the admin socket.

    Args:
        accounts: Which apps exist.
        store: What is exported.
        status: What `homing collector status` shows. Runs in a thread.

    """
    return [
        Route("/status", _answer(status)),
        Route("/export/{app_id}", _export(accounts, store)),
    ]


def _answer(facts: Callable[[], object]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        del request
        said = await asyncio.to_thread(facts)
        return Response(msgspec.json.encode(said), media_type="application/json")

    return endpoint


def _export(accounts: Accounts, store: Store) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        app_id = str(request.path_params["app_id"])
        if accounts.app(app_id) is None:
            return Response(status_code=404)
        total = await asyncio.to_thread(store.count, app_id)
        slices = store.export(app_id)

        async def lines() -> AsyncIterator[bytes]:
            while (rows := await asyncio.to_thread(next, slices, None)) is not None:
                yield b"".join(exported(row) for row in rows)

        return StreamingResponse(
            lines(), media_type="application/x-ndjson", headers={"X-Total": str(total)}
        )

    return endpoint
