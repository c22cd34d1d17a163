"""Constructs that SECURITY rules out, looked for in the syntax tree of every room."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Source

BANNED = {  # name: (where it is allowed, why nowhere else)
    "WebSocketApp": ((), "no jitter, a second ping thread, redirects followed"),
    "enableTrace": ((), "it prints request headers, and with them tokens"),
    "CERT_NONE": ((), "there is no switch to turn verification off"),
    "check_hostname": ((), "there is no switch to turn verification off"),
    "_create_unverified_context": ((), "there is no switch to turn verification off"),
    "pickle": ((), "loading it runs code"),
    "marshal": ((), "loading it runs code"),
    "shelve": ((), "loading it runs code"),
    "eval": ((), "text from outside is never code"),
    "exec": (("ui/",), "text from outside is never code (Qt's event loop has the same name)"),
    "yaml": ((), "loading it runs code"),
    "inject_into_ssl": ((), "it changes trust for the whole process"),
    "mktemp": ((), "somebody else may make the file first"),
}


@cache
def _names(source: Source) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name):
                found.append((name, node.lineno))
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found += [(alias.name.split(".")[0], node.lineno) for alias in names]
                if isinstance(node, ast.ImportFrom) and node.module:
                    found.append((node.module.split(".")[0], node.lineno))
    return found


@pytest.mark.parametrize("name", BANNED)
def test_a_dangerous_construct_is_nowhere(name: str, rooms: tuple[Source, ...]) -> None:
    allowed, why = BANNED[name]
    found = [
        f"{source.name}:{line}"
        for source in rooms
        if not source.name.startswith(allowed or ("-",))
        for used, line in _names(source)
        if used == name
    ]
    assert not found, why


def test_no_websocket_is_opened_without_our_caps(rooms: tuple[Source, ...]) -> None:
    found = [
        f"{source.name}:{node.lineno}"
        for source in rooms
        if not source.name.startswith("agent/adapters/links/websocket_")
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "websocket.create_connection")
        or (isinstance(node, ast.ImportFrom) and node.module == "websocket")
    ]
    assert not found, "a server could fill or hang the agent"


def test_digests_and_tokens_are_never_compared_with_equals(rooms: tuple[Source, ...]) -> None:
    secret = re.compile(r"(?i)digest|token|secret|signature|hmac")
    found = []
    for source in rooms:
        if source.name.startswith("ui/"):
            continue
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Compare) or not any(
                isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops
            ):
                continue
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Constant) for side in sides):
                continue  # a comparison with a literal tells no secret
            if any(secret.search(_last_name(side)) for side in sides):
                found.append(f"{source.name}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "use hmac.compare_digest: time must not tell how much was right"


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return _last_name(func)
    return ""


def test_no_socket_is_abstract(rooms: tuple[Source, ...]) -> None:
    """An abstract socket has no folder to protect it: any user may take its name first."""
    found = [
        f"{source.name}:{node.lineno}"
        for source in rooms
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("bind", "connect")
        for part in ast.walk(node)
        if isinstance(part, ast.Constant)
        and isinstance(part.value, (str, bytes))
        and part.value[:1] in ("\0", b"\0")
    ]
    assert not found


def test_no_shell_runs_what_we_put_together(rooms: tuple[Source, ...]) -> None:
    found = [
        f"{source.name}:{node.lineno}"
        for source in rooms
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.keyword) and node.arg == "shell")
        or (isinstance(node, ast.Attribute) and ast.unparse(node) == "os.system")
    ]
    assert not found


def test_no_statement_of_sql_is_put_together_from_values(rooms: tuple[Source, ...]) -> None:
    """Values are bound. What is formatted in was made here, never handed in from outside.

    A private function may take a piece of SQL: whoever calls it stands in the same file.
    """
    found = []
    for source in rooms:
        for function in ast.walk(source.tree):
            if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            passed_in = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
            if function.name.startswith("_"):
                passed_in = set()
            for part in _formatted_into_sql(function):
                if not isinstance(part, ast.Name) or part.id in passed_in:
                    found.append(f"{source.name}:{part.lineno}: {ast.unparse(part)}")
    assert not found


def _formatted_into_sql(function: ast.AST) -> list[ast.expr]:
    return [
        part.value
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("execute", "executemany", "executescript")
        and node.args
        and isinstance(node.args[0], ast.JoinedStr)
        for part in node.args[0].values
        if isinstance(part, ast.FormattedValue)
    ]
