"""Looks at what apps report, within a budget, and keeps what was learned over a restart.

What is learned is in a file of its own, without a value in it, written a while after something
new was seen and when the agent ends. Losing it costs nothing but learning it again; so it is
never waited for, and one that cannot be read is begun anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agent.adapters.machine.private_files import read_private, write_private
from agent.door.lint import (
    ForgetShapes,
    ListShapes,
    Marked,
    Marks,
    PropertyShape,
    ReadMarks,
    ShapeOf,
    Shapes,
)
from agent.rules.lint import NEW_FOR_MS, AppShapes, Lint, Property, Shape, shape_key
from agent.rules.quota import Bucket
from agent.runtime.counter.screening import word_of
from agent.runtime.off_loop import off_loop
from tracking.bucket import Call, EventCall, FeedbackCall, RawCall
from tracking.errors import Fault
from tracking.events import Event

if TYPE_CHECKING:
    from agent.runtime.answering import Handlers
    from agent.runtime.core import Core

log = logging.getLogger("agent.lint")

FILE: Final = "shapes.json"
MOST_FILE_BYTES: Final = 8 * 1024 * 1024
WRITE_AFTER_S: Final = 10.0  #: What is new comes in groups.


class _Kept(msgspec.Struct):
    """The file."""

    version: int = 1
    apps: dict[str, AppShapes] = {}


class _Body(msgspec.Struct, frozen=True):
    """What a shape is told by, of an event as it is stored."""

    type: str = ""
    name: str | None = None
    userId: str | None = None  # noqa: N815 - the wire's own word
    payload: msgspec.Raw = msgspec.Raw(b"")
    call: msgspec.Raw = msgspec.Raw(b"")


class _CallBody(msgspec.Struct, frozen=True):
    """The same of a Bucket call."""

    event: object = None
    userId: object = None  # noqa: N815 - the wire's own word
    attributes: msgspec.Raw = msgspec.Raw(b"")
    comment: object = None


_BODY: Final = msgspec.json.Decoder(_Body)
_CALL: Final = msgspec.json.Decoder(_CallBody)


class Linting:
    """Learns shapes, and marks events by them.

    Args:
        file: Where what was learned is kept; None keeps nothing.
        looks_per_s: Events of one app that are looked at in a second; 0 looks at none.
        wall_ms: Unix milliseconds.
        mono_s: Monotonic seconds.
        run: Runs something beside the loop's work.
        told: Hears how many marks there are in an app's events: app, count.

    """

    def __init__(
        self,
        file: Path | None,
        looks_per_s: int,
        *,
        wall_ms: Callable[[], int],
        mono_s: Callable[[], float],
        run: Callable[[Coroutine[Any, Any, None]], object],
        told: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        self.told = told
        self.file = file
        self.looks_per_s = looks_per_s
        self.wall_ms = wall_ms
        self.mono_s = mono_s
        self.run = run
        self.lint = Lint()
        self._budgets: dict[str, Bucket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._keys: dict[tuple[str, str, str | None], str] = {}

    # --- life --------------------------------------------------------------------------------

    def recall(self) -> None:
        """Go on with what was learned before."""
        if self.file is None:
            return
        try:
            raw = read_private(self.file, most_bytes=MOST_FILE_BYTES)
            kept = _Kept() if raw is None else msgspec.json.decode(raw, type=_Kept)
        except (Fault, msgspec.MsgspecError) as exc:
            log.info("learning the shapes of events anew why=%s", type(exc).__name__)
            return
        self.lint = Lint(kept.apps)

    def close(self) -> None:
        """Keep what was learned since it was written last."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.file is not None and self.lint.apps:
            self._write(self._encoded())

    def _plan(self) -> None:
        if self._timer is None and self.file is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WRITE_AFTER_S, lambda: self.run(self._keep()))

    async def _keep(self) -> None:
        self._timer = None
        await off_loop(partial(self._write, self._encoded()), name="shapes")

    def _encoded(self) -> bytes:
        self.lint.fold(self.wall_ms())
        return msgspec.json.encode(_Kept(apps=self.lint.apps))

    def _write(self, content: bytes) -> None:
        if self.file is None:
            return
        try:
            write_private(self.file, content)
        except Fault as fault:  # a full disk is told by the outbox; this can be learned again
            log.info("the shapes of events were not kept code=%s", fault.code)

    # --- at the counter ----------------------------------------------------------------------

    def events(self, app_id: str, events: Sequence[Event]) -> None:
        """Look at what an app reports, as far as the budget goes."""
        for event in self._chosen(app_id, events):
            key = self._key("nucleus", event.type, event.name)
            self._learn(app_id, key, event.payload, event.user_id)

    def calls(self, app_id: str, calls: Sequence[Call]) -> None:
        """Look at Bucket calls, as far as the budget goes."""
        for call in self._chosen(app_id, calls):
            name = call.event if isinstance(call, EventCall) else None
            payload = None if isinstance(call, (FeedbackCall, RawCall)) else call.attributes
            if isinstance(call, FeedbackCall) and call.comment is not None:
                payload = msgspec.json.encode({"comment": call.comment})
            self._learn(app_id, self._key("bucket", word_of(call), name), payload, call.user_id)

    def _chosen(self, app_id: str, handed_in: Sequence[Any]) -> Sequence[Any]:
        if not self.looks_per_s or not handed_in:
            return ()
        budget = self._budgets.get(app_id)
        if budget is None:
            budget = Bucket(rate_per_s=self.looks_per_s, burst=self.looks_per_s)
            self._budgets[app_id] = budget
        known = self.lint.apps.get(app_id)
        if known is not None:
            known.passed += len(handed_in)
        now_s = self.mono_s()
        if budget.take(len(handed_in), now_s) <= 0:
            return handed_in
        return handed_in[:1] if budget.take(1, now_s) <= 0 else ()

    def _learn(self, app_id: str, key: str, payload: bytes | None, user_id: str | None) -> None:
        if self.lint.learn(app_id, key, payload, self.wall_ms(), user_id=user_id):
            self._plan()
            self.tell(app_id)

    def tell(self, app_id: str) -> None:
        """Say how many marks there are in an app's events."""
        app = self.lint.apps.get(app_id)
        if app is not None and self.looks_per_s:
            shapes = app.shapes.values()
            found = [one for shape in shapes for one in shape.properties.values()]
            late = sum(shape.late for shape in shapes) + sum(one.late for one in found)
            self.told(app_id, late + sum(len(one.marks) for one in found))

    def _key(self, language: str, word: str, name: str | None) -> str:
        said = (language, word, name)
        key = self._keys.get(said)
        if key is None:
            if len(self._keys) > 1_000:
                self._keys.clear()
            key = self._keys[said] = shape_key(language, word, name)
        return key

    # --- what a person sees ------------------------------------------------------------------

    def marks_of(self, app_id: str, body: bytes) -> tuple[str, ...]:
        """Return the marks of one event as it is stored, in words."""
        if not self.looks_per_s:
            return ()
        told = _BODY.decode(body)
        language, name, user_id, payload = "nucleus", told.name, told.userId, told.payload
        if told.call:
            call = _CALL.decode(told.call)
            language = "bucket"
            name = None if call.event is None else str(call.event)
            user_id = None if call.userId is None else str(call.userId)
            payload = call.attributes
            if call.comment is not None:
                payload = msgspec.Raw(msgspec.json.encode({"comment": call.comment}))
        said = bytes(payload)
        marks = self.lint.marks(
            app_id,
            self._key(language, told.type, name),
            said if said[:1] == b"{" else None,
            self.wall_ms(),
            user_id=user_id,
        )
        return tuple(map(str, marks))

    async def shapes(self, request: ListShapes) -> Shapes:
        """Answer what was learned."""
        self.lint.fold(self.wall_ms())
        found: list[ShapeOf] = []
        for app_id, app in self.lint.apps.items():
            if request.app_id in (None, app_id):
                found += [
                    _shape_of(app_id, key, shape) for key, shape in sorted(app.shapes.items())
                ]
        apps = [a for n, a in self.lint.apps.items() if request.app_id in (None, n)]
        return Shapes(
            shapes=tuple(found),
            seen=sum(app.seen for app in apps),
            passed=sum(app.passed for app in apps),
            unlearned=sum(
                app.unlearned + sum(one.unlearned for one in app.shapes.values()) for app in apps
            ),
        )

    async def marks(self, request: ReadMarks) -> Marks:
        """Answer what was marked, newest first."""
        listed = (await self.shapes(ListShapes(app_id=request.app_id))).shapes
        now_ms = self.wall_ms()
        found = [mark for shape in listed for mark in _marked(shape, now_ms)]
        found.sort(key=lambda one: one.last_ms, reverse=True)
        return Marks(marks=tuple(found[: request.limit]), in_all=len(found))

    async def forget(self, request: ForgetShapes) -> Shapes:
        """Forget what was learned of an app, on disk too."""
        await self.forget_app(request.app_id)
        return await self.shapes(ListShapes())

    async def forget_app(self, app_id: str) -> None:
        """Forget what was learned of an app, on disk too.

        Raises:
            StorageFault: It is forgotten, but still on disk.

        """
        self.lint.forget(app_id)
        self._budgets.pop(app_id, None)
        self._keys.clear()
        if self.file is not None:
            await off_loop(partial(write_private, self.file, self._encoded()), name="shapes")


def linting_of(core: Core) -> Linting:
    """Return the linting that a core's settings ask for, with what was learned before."""
    chosen = core.settings.lint

    def told(app_id: str, marks: int) -> None:
        desk = core.desks.get(app_id)
        if desk is not None:
            desk.marks = marks

    linting = Linting(
        core.places.state / FILE,
        chosen.looks_per_s if chosen.learn == "on" else 0,
        wall_ms=core.means.wall_ms,
        mono_s=core.means.mono_s,
        run=core.run,
        told=told,
    )
    linting.recall()
    for app_id in linting.lint.apps:  # when the desks stand
        asyncio.get_running_loop().call_soon(linting.tell, app_id)
    return linting


def handlers(core: Core) -> Handlers:
    """Return who answers the requests of ``agent.door.lint``."""
    linting = core.linting
    return {
        ListShapes: linting.shapes,
        ReadMarks: linting.marks,
        ForgetShapes: linting.forget,
    }


def _shape_of(app_id: str, key: str, shape: Shape) -> ShapeOf:
    language, _, rest = key.partition("/")
    word, _, name = rest.partition("/")
    return ShapeOf(
        app_id=app_id,
        language=language,
        type=word,
        name=name or None,
        seen=shape.seen,
        first_ms=shape.first_ms,
        last_ms=shape.last_ms,
        new=shape.late,
        properties=tuple(_property_of(path, one) for path, one in sorted(shape.properties.items())),
    )


def _property_of(path: str, one: Property) -> PropertyShape:
    return PropertyShape(
        path=path,
        kinds=one.kinds,
        seen=one.seen,
        first_ms=one.first_ms,
        last_ms=one.last_ms,
        new=one.late,
        marks=one.marks,
    )


def _marked(shape: ShapeOf, now_ms: int) -> list[Marked]:
    """Return the marks of one shape."""
    place = {"app_id": shape.app_id, "language": shape.language, "type": shape.type}
    place["name"] = shape.name or ""
    found = []
    if shape.new and now_ms - shape.first_ms < NEW_FOR_MS:
        found.append(Marked(**place, what="new-name", count=shape.seen, last_ms=shape.last_ms))
    for one in shape.properties:
        words = dict(one.marks)
        if one.new and now_ms - one.first_ms < NEW_FOR_MS:
            words["new-property"] = one.seen
        for word, count in words.items():
            what, _, detail = word.partition(":")
            found.append(
                Marked(
                    **place,
                    what=what,
                    path=one.path,
                    detail=detail,
                    count=count,
                    last_ms=one.last_ms,
                )
            )
    return found
