"""What stands in the log, and what never does (SECURITY.md, threats 16 and 50)."""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from collectors import Collector

import collector
import tracking
from collector import logs
from collector.api import DataApi

Run = Callable[..., Collector]
CANARY = "c4nary"
WHO: Any = cast(Any, None)
ROUTES = [str(route.path) for route in DataApi(WHO, WHO, WHO, WHO, int, float).routes()]
CALLS = {"debug", "info", "warning", "error", "exception", "critical"}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every log call of the rooms that a collector runs."""
    for room in (collector, tracking):
        assert room.__file__ is not None
        for file in Path(room.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in CALLS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in ("log", "_log", "logger", "logging")
                ):
                    yield f"{file.name}:{node.lineno}", node


def test_every_log_call_is_a_constant_sentence_with_allowed_fields() -> None:
    calls = list(log_calls())
    assert len(calls) >= 10
    for place, call in calls:
        sentence = call.args[0]
        assert isinstance(sentence, ast.Constant), place
        names = logs._VALUE.findall(str(sentence.value))
        assert len(names) == len(call.args) - 1, place
        assert set(names) <= logs.FIELDS, f"{place}: name it in logs.FIELDS, or leave it out"
    used = {name for _, call in calls for name in logs._VALUE.findall(call.args[0].value)}  # type: ignore[attr-defined]
    assert used == logs.FIELDS


@pytest.mark.parametrize("how", ["json", "text"])
def test_no_token_key_person_or_payload_is_ever_logged(
    run: Run, how: str, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("websocket")  # the client's own, about how we close a bad conversation
    far_end = run(
        *("--log", how, "--log-level", "debug", "--wrong-tokens-per-min", "10000"),
        *("--app-burst", "40", "--app-events-per-s", "1"),
    )
    token = far_end.app(f"{CANARY}-app", "admin")
    secret = token.removeprefix("dat1_")
    person = {"userId": f"{CANARY}-user", "deviceId": f"{CANARY}-device", "name": f"{CANARY}-name"}
    deep = {"a": {"b": CANARY * 10_000}}
    payloads: list[Any] = [{CANARY: CANARY}, CANARY, [CANARY], deep, 1e400]
    frames = [json.dumps({"data": [{**person, "payload": p}]}) for p in payloads]
    frames += [
        f'{{"data":[{{"type":"{CANARY}"',
        f'["{CANARY}"]',
        CANARY,
        '{"data":"' + CANARY + '"}',
    ]
    for path in (f"/app/{CANARY}-app/track", f"/app/{CANARY}-nobody/track", f"/{CANARY}-app"):
        for frame in frames:
            far_end.request("POST", path, frame)
            far_end.request("POST", path, frame, {"Content-Encoding": CANARY})
            far_end.request("POST", path, frame, {"Authorization": f"Bearer {token}"})
    for route in ROUTES:
        path = re.sub(r"\{app_id\}", f"{CANARY}-app", route)
        path = re.sub(r"\{[^}]*\}", f"{CANARY}-part", path)
        for method in ("GET", "POST", "DELETE", "PUT", "OPTIONS"):
            for auth in (token, f"{token}x", f"Bearer {token}", CANARY):
                query = f"?token={token}&start={CANARY}&q={CANARY}"
                far_end.request(method, path + query, "{", {"Authorization": auth})
                far_end.request(method, path, {"token": auth})
    for path in ("/user", "/company", "/event", "/bulk", "/feedback", "/v1/event", "/healthz"):
        key = {"Authorization": f"Bearer {CANARY}", "X-Forwarded-For": CANARY}
        far_end.request("POST", f"{path}?publishableKey={CANARY}", person, key)
        far_end.request("POST", f"/{CANARY}{path}", person, key)
    with contextlib.closing(far_end.ws(f"/app/{CANARY}-app/track")) as ws:
        for frame in frames:
            ws.send(frame)
            ws.recv()
        ws.ping(CANARY)
    with contextlib.closing(far_end.ws(f"/app/{CANARY}-app/track")) as ws:
        ws.send(b"\xff" + CANARY.encode())
        ws.sock.sendall(b"\xf0" + CANARY.encode())
    raw = (
        f"{CANARY}\r\n\r\n",
        f"GET /{CANARY} HTTP/9.9\r\n\r\n",
        f"GET / HTTP/1.1\r\n{CANARY}: {'x' * 70_000}\r\n\r\n",
    )
    for text in raw:
        address = ("127.0.0.1", far_end.port)
        with socket.create_connection(address, 10) as sock, contextlib.suppress(OSError):
            sock.sendall(text.encode())
            sock.recv(4096)
    assert far_end.stop() == 0
    written = Path(far_end.log.name).read_text()
    assert CANARY not in written
    assert secret not in written
    assert "127.0.0.1" not in written.replace("host=127.0.0.1", "").replace(
        '"host": "127.0.0.1"', ""
    )
    assert "Traceback" not in written
    lines = written.splitlines()
    assert len(lines) >= 3
    if how == "json":
        allowed = {"time", "level", "logger", "event"} | logs.FIELDS
        for line in lines:
            assert set(json.loads(line)) <= allowed, line


@pytest.fixture(params=[logs.JsonLines, logs.TextLines])
def written(request: pytest.FixtureRequest) -> Callable[..., str]:
    formatter: logging.Formatter = request.param()

    def write(name: str, template: object, *args: object, **more: Any) -> str:
        record = logging.LogRecord(
            name, logging.ERROR, "", 1, template, args, **{"exc_info": None} | more
        )
        return formatter.format(record)

    return write


def test_a_field_that_is_not_allowed_is_left_out(written: Callable[..., str]) -> None:
    line = written("collector.x", "stored events=%d user=%s port=%d", 5, CANARY, 7)
    assert "stored" in line
    assert CANARY not in line
    assert re.search(r"events\W+5\b.*port\W+7\b", line)


def test_a_value_without_a_name_is_left_out(written: Callable[..., str]) -> None:
    line = written("collector.x", "it said %s events=%d", CANARY, 5)
    assert "it said" in line
    assert CANARY not in line
    assert re.search(r"events\W+5\b", line)


def test_of_other_libraries_only_the_constant_is_written(written: Callable[..., str]) -> None:
    line = written("asyncio", f"Task exception was never retrieved\nfuture: <{CANARY}>")
    assert "never retrieved" in line
    assert CANARY not in line
    line = written("starlette", "%s failed", CANARY)
    assert CANARY not in line


def test_of_an_exception_the_words_are_left_out(written: Callable[..., str]) -> None:
    try:
        try:
            raise ValueError(CANARY)
        except ValueError as exc:
            raise KeyError(CANARY) from exc
    except KeyError:
        line = written("collector.x", "a bug", exc_info=sys.exc_info())
    assert CANARY not in line
    assert "builtins.KeyError" in line
    assert "test_logs.py:" in line


def test_a_value_cannot_forge_a_line(written: Callable[..., str]) -> None:
    line = written("collector.x", "serving host=%s", "a\n2026 CRITICAL \x1b[31mforged")
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(written("collector.x", "serving host=%s", "x" * 100_000)) < 500


def test_what_python_would_print_of_a_dead_thread_is_written_without_its_words(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    expected_warnings: Callable[..., None],
) -> None:
    expected_warnings("collector.logs")
    for hook in ("excepthook",):
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
        monkeypatch.setattr(threading, hook, getattr(threading, hook))
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        logs.begin("text", "info")

        def die() -> None:
            raise ValueError(CANARY)

        thread = threading.Thread(target=die)
        thread.start()
        thread.join()
    finally:
        for added in set(root.handlers) - set(before):
            root.removeHandler(added)
        root.setLevel(level)
    shown = capfd.readouterr().err
    assert "a thread died" in shown
    assert "builtins.ValueError" in shown
    assert CANARY not in shown
