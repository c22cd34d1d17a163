"""Which pages a person may register, and of which they are warned."""

from __future__ import annotations

import pytest

from agent.rules.origins import MOST_ORIGINS, check_origins, is_development, warnings
from tracking.errors import RequestFault


@pytest.mark.parametrize(
    "origin",
    [
        "tauri://localhost",
        "http://tauri.localhost",
        "https://tauri.localhost",
        "file://",
        "null",
        "app://main",
        "app://com.example.notes",
        "capacitor://localhost",
        "vscode-webview://0a1b2c",
        "http://localhost",
        "http://localhost:5173",
        "https://localhost:8443",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
    ],
)
def test_an_apps_own_pages_and_a_developers_may_be_registered(origin: str) -> None:
    assert check_origins([origin, origin]) == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "https://example.com",
        "http://example.com:3000",
        "HTTPS://EXAMPLE.COM",
        "http://localhost.example.com",
        "http://127.0.0.2",
        "http://0.0.0.0:3000",
        "http://127.1:3000",
        "http://localhost.",
        "http://evil.tauri.localhost",
        "http://192.168.1.7:3000",
        "http://[::2]:3000",
        "http://user@localhost:3000",
        "http://localhost:3000/",
        "http://localhost:80",
        "https://localhost:443",
        "ws://localhost",
        "data:text/html,x",
        "blob:null",
        "javascript://x",
        "file:///home",
        "file://host",
        "tauri://",
        "tauri://localhost/",
        "TAURI://localhost",
        "tauri://localhost\r\nx: y",
        "Null",
        "app://ö",
        "x" * 10_000,
    ],
)
def test_a_web_sites_origin_and_what_no_browser_sends_are_refused(origin: str) -> None:
    with pytest.raises(RequestFault) as caught:
        check_origins(["tauri://localhost", origin])
    assert caught.value.field == "origins"
    assert caught.value.advice
    assert len(str(caught.value)) < 200


def test_a_token_has_a_bounded_number_of_origins() -> None:
    many = [f"app://{n}" for n in range(MOST_ORIGINS)]
    assert check_origins(many) == tuple(many)
    with pytest.raises(RequestFault, match="at most 32 origins, got 33"):
        check_origins([*many, "app://more"])


def test_only_what_lets_in_more_than_the_app_is_warned_of() -> None:
    assert warnings(["tauri://localhost", "file://", "https://tauri.localhost"]) == ()
    told = warnings(["null", "http://localhost:5173"])
    assert "every sandboxed frame" in told[0]
    assert "http://localhost:5173" in told[1]
    assert not is_development("http://tauri.localhost")
