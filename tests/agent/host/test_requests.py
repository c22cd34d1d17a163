"""Every request of the door's table has a handler, a known answer and a path of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agent.door.asking import Request, answer_of
from agent.door.table import BY_REQUEST, TABLE
from agent.host import Agent, HostDoor


def test_each_line_of_the_table_is_answered_by_the_agent(
    make_agent: Callable[..., tuple[Agent, HostDoor]],
) -> None:
    _, door = make_agent()
    assert set(door._controls.handlers) == {line.request for line in TABLE}
    assert len(BY_REQUEST) == len(TABLE)
    assert len({line.name for line in TABLE}) == len(TABLE)


def test_each_request_names_its_answer() -> None:
    for line in TABLE:
        assert answer_of(line.request) is not None
        if line.reads:  # its fields travel in a query
            kinds = {field.type for field in msgspec.structs.fields(line.request)}
            assert not any(repr(kind).startswith(("list", "dict", "tuple")) for kind in kinds)


def test_a_request_without_an_answer_is_a_mistake() -> None:
    class Bare(Request): ...  # type: ignore[type-arg]

    class Whole(Request[dict[str, Any]]): ...

    assert answer_of(Whole) == dict[str, Any]
    with pytest.raises(TypeError, match="Bare does not say"):
        answer_of(Bare)
