"""A far end for Bucket calls in this process: real sockets, real accounts, a real store.

What it holds is worked out here from the rows of its tables by the rules that stand at their
classes (collector/store/interface.py), and not by any query of the collector's.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from starlette.applications import Starlette

from collector.access.accounts import Accounts
from collector.access.limits import Limiter
from collector.intake.bucket import BucketIngest
from collector.intake.ingest import Ingest
from collector.intake.presence import Presence
from collector.intake.writer import Writer
from collector.store.duck import DuckStore
from collector.store.interface import (
    INACTIVE,
    TABLES,
    Attribute,
    Feedback,
    Membership,
    RawItem,
    Seen,
    Store,
    Stored,
)
from tracking.bucket_endpoints import bucket_routes
from tracking.endpoints import tracking_routes
from tracking.events import Limits
from tracking.nucleus import normal_platform
from tracking.serving import Listener

JSON = {"Content-Type": "application/json"}
ACME = (
    '{"companyId":101112231415,"attributes":{"name":"Acme Corp","monthly_spend":99,'
    '"activated":true},"userId":1234567890}'
)
SENT = {"event": "Sent message", "userId": 1234567890}
BULK: list[dict[str, Any]] = [
    {
        "type": "user",
        "userId": "john_doe",
        "attributes": {"name": "John O.", "age": 3, "nested": {"a": 1}, "arr": [1, 2]},
        "context": {"active": False},
    },
    {"type": "user", "userId": 1234567890},
    {
        "type": "company",
        "companyId": "acme_inc",
        "userId": "john_doe",
        "attributes": {"name": "Acme Inc"},
        "context": {"active": True},
    },
    {"type": "company", "companyId": 101112231415, "userId": 1234567890},
    {
        "type": "event",
        "event": "huddle",
        "companyId": "acme_inc",
        "userId": "john_doe",
        "attributes": {"voice": True},
        "context": {"active": False},
    },
    {"type": "event", "event": "Sent message", "userId": 1234567890},
    {
        "type": "feature-flag-event",
        "action": "check",
        "key": "huddle",
        "targetingVersion": 42,
        "evalContext": {"user": {"id": "john_doe", "name": "J"}},
        "evalResult": True,
        "evalRuleResults": [True],
        "evalMissingFields": [],
    },
]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Known(NamedTuple):
    """A user or a company as it stands."""

    first_ts: int
    last_ts: int | None
    attributes: dict[str, Any]


class Held:
    """What a store holds of one app.

    Args:
        store: Open, or opened again after its server ended.
        app_id: The app.

    """

    def __init__(self, store: Store, app_id: str) -> None:
        self.store = store
        self.app_id = app_id

    def rows(self, shape: Any) -> list[Any]:
        table = "{events}" if shape is Stored else TABLES[shape]
        question = f"SELECT {', '.join(shape._fields)} FROM {table} WHERE app_id = $app"
        found = self.store.ask(question, {"app": self.app_id})
        return [shape(*row) for row in found]

    @property
    def events(self) -> list[Stored]:
        return sorted(self.rows(Stored), key=lambda row: (row.recv_ts, row.ts))

    @property
    def raw(self) -> list[RawItem]:
        return self.rows(RawItem)

    def known(self, kind: str) -> dict[str, Known]:
        """Return everybody of a kind by id: first and last sight, attributes."""
        found: dict[str, Known] = {}
        events = self.rows(Stored)
        attributes: list[Attribute] = self.rows(Attribute)
        for seen in self.rows(Seen):
            if seen.kind != kind:
                continue
            first, last, _ = found.get(seen.id, Known(seen.first_ts, None, {}))
            firsts = [ts for ts in (first, seen.first_ts) if ts]
            lasts = [ts for ts in (last, seen.last_ts) if ts]
            for event in events:
                theirs = event.user_id if kind == "user" else event.company_id
                if theirs == seen.id and not event.flags & INACTIVE:
                    lasts.append(event.ts)
            latest: dict[str, Attribute] = {}
            for one in attributes:
                if (one.kind, one.id) == (kind, seen.id):
                    old = latest.get(one.key, one)
                    latest[one.key] = max(old, one, key=lambda a: (a.ts, a.recv_ts, a.value))
            said = {key: json.loads(one.value) for key, one in latest.items()}
            found[seen.id] = Known(min(firsts), max(lasts, default=None), said)
        return found

    @property
    def users(self) -> dict[str, Known]:
        return self.known("user")

    @property
    def companies(self) -> dict[str, Known]:
        return self.known("company")

    @property
    def links(self) -> set[tuple[str, str]]:
        return {(link.user_id, link.company_id) for link in self.rows(Membership)}

    @property
    def feedback(self) -> dict[str, Feedback]:
        rows: list[Feedback] = sorted(self.rows(Feedback), key=lambda row: row.recv_ts)
        return {row.feedback_id: row for row in rows}


class BucketEnd:
    """A server on a loop in a thread of its own.

    Args:
        folder: Where its accounts lie, and its store.
        store: Another store; it is closed with the server.
        burst: Events that may come at once, and in a second.

    """

    def __init__(self, folder: Path, store: Store | None = None, *, burst: float = 1e6) -> None:
        self.accounts = Accounts(folder / "accounts.db")
        self.store = store or DuckStore(folder / "events.duckdb", now_ms())
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.writer = Writer(self.store, self.loop)
        self.ingest = Ingest(
            self.accounts,
            self.writer,
            Presence(now_ms, normal_platform),
            per_peer=Limiter(burst, burst),
            per_app=Limiter(burst, burst),
            now_ms=now_ms,
            now_s=time.monotonic,
        )
        self.bucket = BucketIngest(self.accounts, self.store, self.writer, self.ingest)
        sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = sock.getsockname()[1]

        async def start() -> Listener:
            limits = Limits()
            routes = [*bucket_routes(self.bucket, limits), *tracking_routes(self.ingest, limits)]
            listener = Listener(Starlette(routes=routes), limits=limits)
            await listener.on_socket(sock)
            return listener

        self.listener = self.run(start())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def stop(self) -> None:
        self.run(self.listener.drain(1.0))
        self.writer.close()
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
        self.store.close()
        self.accounts.close()


class BucketApp:
    """An app on a server, with its keys and with what the store holds of it."""

    def __init__(self, far_end: BucketEnd, app_id: str | None = None) -> None:
        self.far_end = far_end
        accounts = far_end.accounts
        app = accounts.add_app("an app", now_ms(), app_id=app_id, if_missing=True)
        self.key = app.tracking_key
        self.public = accounts.publishable_key(app.app_id)
        self.secret = accounts.new_secret_key(app.app_id, now_ms()) or ""
        self.held = Held(far_end.store, app.app_id)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Post below the app's tracking key, unless the path begins with a slash."""
        path = path if path.startswith("/") else f"/{self.key}/{path}"
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        return post(self.far_end.port, path, body, sent)

    def take(self, path: str, body: Any, **headers: str) -> Any:
        """Post what must be taken; return the answer."""
        status, said = self.post(path, body, **headers)
        assert status == 200, said
        assert said["success"] is True
        return said


def post(port: int, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Post JSON; return the status and the answer, which is always JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        raw = body if isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request("POST", path, raw, JSON | (headers or {}))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
