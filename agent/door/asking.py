"""What a request at the door is: one struct that says what is wanted and names its answer.

    class AllowApp(Request[AppStatus]):
        app_id: str

A request has a line in :mod:`agent.door.table`, which gives it its path, and a handler in
``agent.runtime``; every door carries it from one to the other. So a new thing to ask is a struct,
a line and a handler, and works in the terminal, the window and with curl alike.
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar, cast, get_args

import msgspec

T = TypeVar("T")


class Request(msgspec.Struct, Generic[T], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that may be asked; ``T`` is what is answered: a struct of the door.

    Attributes:
        timeout_s: How long the asker waits for the answer, for those that take long.

    """

    timeout_s: ClassVar[float] = 15.0


def answer_of(request: type[Request[T]]) -> type[T]:
    """Return the type that a request is answered with."""
    for base in vars(request).get("__orig_bases__", ()):
        if arguments := get_args(base):
            return cast("type[T]", arguments[0])
    raise TypeError(f"{request.__name__} does not say what it is answered with")
