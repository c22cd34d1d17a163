"""What the tests of the Data API share: a believable app, and how it is asked."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from collectors import DAY, HOUR, AppOf, now_ms

SEED_START, SEED_END = 1618010248, 1618211950  #: Of the samples of the seeds.


def get(app: AppOf, path: str, token: str | None = None, **query: Any) -> tuple[int, Any]:
    """Ask about an app; return status and body."""
    asked = f"/api/v1/apps/{app.id}{path}" + (f"?{urlencode(query)}" if query else "")
    headers = {"Authorization": token or app.token}
    status, said, _ = app.far_end.request("GET", asked, headers=headers)
    return status, said


def delete(app: AppOf, path: str, **headers: str) -> tuple[int, Any]:
    status, said, _ = app.far_end.request(
        "DELETE",
        f"/api/v1/apps/{app.id}{path}",
        headers={"Authorization": app.token, **headers},
    )
    return status, said


def lately(days: float = 3) -> dict[str, int]:
    """Return an interval that ends now."""
    return {"start": int(now_ms() - days * DAY), "end": now_ms() + HOUR}


def person(user: str | None, device: str, at: int, **more: Any) -> list[dict[str, Any]]:
    """Return what somebody's app reports when it starts, and two things that they did."""
    facts = {"machineId": device, "sessionId": 4711, **({} if user is None else {"userId": user})}
    start = {"platform": "Darwin", "osVersion": "14", "version": "1.2", "locale": "en-US"}
    return [
        {"type": "init", "date": at, "payload": {"plan": "pro", "n": 1}, **start, **facts, **more},
        {"type": "event", "name": "PLAYED", "date": at + 1000, "payload": {"t": "x"}, **facts},
        {
            "type": "error",
            "name": "Oops",
            "date": at + 100_000,
            "payload": {"stack": f"at run (0xf00:{at % 97})", "message": "m"},
            **facts,
        },
    ]


def tell(app: AppOf, *events: dict[str, Any]) -> None:
    """Report events; each has an id of its own."""
    app.say({"data": [{"id": f"e{n}", **one} for n, one in enumerate(events)]})


def segment(text: str) -> str:
    """Return one segment of a path."""
    return quote(text, safe="")
