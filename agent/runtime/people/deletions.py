"""Asking far ends to delete what they hold of a person, until they have (threat row 49).

    asked ──► waiting ──► tried ──► done          all of it answered; the receipts are kept
                 ▲          │ no road, 5xx, 429   full jitter, 5 s … 6 h, never given up
                 └──────────┘
                            └──► parked           no token, 401, 403, 404: a person first

Each request is a file of its own, whole or not at all, written before anything is deleted here: a
killed agent goes on where it was. Nobody is named any more once the far end has answered: of each
person only the receipt stays, which says no name.

404 for a person is an answer: the far end knows nobody of that name, so there is nothing to
delete. 404 for anything else parks, because then the address is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.adapters.machine.private_files import make_folder, read_private, write_private
from agent.door.your_data import Deletion, FarEnd, State
from agent.rules.backoff import Backoff
from agent.runtime.off_loop import off_loop
from agent.runtime.ways.far_ends import Place, origin_of
from tracking.errors import (
    Fault,
    LinkFault,
    Refused,
    RequestFault,
    SecretFault,
    Throttled,
    Unreachable,
)

if TYPE_CHECKING:
    from agent.adapters.links.data_api import DataApi
    from agent.runtime.core import Core

log = logging.getLogger("agent.deletions")

BACKOFF = Backoff(base_s=5.0, cap_s=6 * 3600.0)
KEPT = 1_000  #: Requests that are done are kept for their receipts; the oldest beyond go.
MOST_RECEIPT_BYTES = 16 * 1024


class Asked(msgspec.Struct, kw_only=True):
    """One request as it lies on disk.

    Attributes:
        persons: Who is still to be deleted, as the far end knows them.
        answered: How many were.
        receipts: As the far end signed them.

    """

    id: str
    app_id: str
    upstream: str
    kind: str
    origin: str
    here: bool = False
    persons: list[str]
    answered: int = 0
    state: State = "waiting"
    attempts: int = 0
    made_ms: int
    next_ms: int = 0
    reason: str = ""
    receipts: list[str] = msgspec.field(default_factory=list)


class Deleting:
    """Keeps the requests, and asks.

    Args:
        core: Clocks, tokens, far ends; where notices are shown.
        folder: One file per request.
        backoff: Between tries.

    """

    def __init__(self, core: Core, folder: Path, backoff: Backoff = BACKOFF) -> None:
        self.core = core
        self.folder = folder
        self.backoff = backoff
        self.requests: dict[str, Asked] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def open(self) -> None:
        """Go on with what an earlier process was asked; a file that is none of ours is left."""
        for file in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else ():
            try:
                asked = msgspec.json.decode(read_private(file) or b"", type=Asked)
            except (Fault, msgspec.MsgspecError):
                log.warning("a request for deletion cannot be read file=%s", file.name)
                self.core.note(
                    "deletion.damaged", f"{file} is no request for deletion any more", "error"
                )
                continue
            self.requests[asked.id] = asked
        self._tell()
        self._plan()

    def close(self) -> None:
        """Ask nothing any more; what is under way is asked again at the next start."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    # --- asking --------------------------------------------------------------------------------

    def ask(self, place: Place, persons: Iterable[str]) -> Asked:
        """Keep a request, durably; it is tried when :meth:`go_on` is called.

        Raises:
            StorageFault: It could not be kept; nothing is asked.

        """
        now_ms = self.core.means.wall_ms()
        asked = Asked(
            id=f"{now_ms:013d}-{secrets.token_hex(4)}",
            app_id=place.app_id,
            upstream=place.told.upstream,
            kind=place.told.kind,
            origin=place.told.origin,
            here=place.here,
            persons=list(dict.fromkeys(persons)),
            made_ms=now_ms,
            next_ms=now_ms,
        )
        make_folder(self.folder)
        self._keep(asked)
        self.requests[asked.id] = asked
        return asked

    def retry(self, id_: str | None) -> None:
        """Ask again now: one request, or all that wait or are parked.

        Raises:
            RequestFault: There is no such request.

        """
        if id_ is not None and id_ not in self.requests:
            raise RequestFault(f"there is no request {id_!r}", field="id", status=404)
        for asked in self.requests.values():
            if asked.state != "done" and id_ in (None, asked.id):
                asked.state, asked.next_ms = "waiting", 0
                self._keep(asked)
        self.go_on()

    def receipts(self, id_: str) -> Sequence[str]:
        """Return the receipts of a request.

        Raises:
            RequestFault: There is no such request.

        """
        asked = self.requests.get(id_)
        if asked is None:
            raise RequestFault(f"there is no request {id_!r}", field="id", status=404)
        return asked.receipts

    def told(self) -> tuple[Deletion, ...]:
        """Return the requests, the newest first."""
        newest = sorted(self.requests.values(), key=lambda one: one.id, reverse=True)
        return tuple(deletion(asked) for asked in newest)

    # --- the worker ----------------------------------------------------------------------------

    def go_on(self) -> None:
        """Try what is due, now; and what is not, in time."""
        if self._task is None and not self._closed and self._due():
            self._task = self.core.run(self._try_all())
        else:
            self._plan()

    def _due(self) -> list[Asked]:
        now_ms = self.core.means.wall_ms()
        waiting = (one for one in self.requests.values() if one.state == "waiting")
        return [asked for asked in waiting if asked.next_ms <= now_ms]

    def _plan(self) -> None:
        """Set the one timer there is, if anything waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = [one.next_ms for one in self.requests.values() if one.state == "waiting"]
        if waiting and not self._closed:
            delay_s = max(0.0, (min(waiting) - self.core.means.wall_ms()) / 1000)
            self._timer = self._loop.call_later(min(delay_s, 3600.0), self.go_on)

    async def _try_all(self) -> None:
        try:
            while due := self._due():
                await self._try(due[0])
        finally:
            self._task = None
        self._tell()
        self._plan()

    async def _try(self, asked: Asked) -> None:
        """Ask about everybody that is left, and keep after each what came of it."""
        try:
            api = await self.core.far_ends.api(self._place(asked))
            while asked.persons:
                receipt = await self._erase(api, asked.persons[0])
                asked.persons.pop(0)
                asked.answered, asked.attempts = asked.answered + 1, 0
                if receipt:
                    asked.receipts.append(receipt)
                self._keep(asked)
            asked.state = "done"
            asked.reason = "" if asked.receipts else "the far end held nothing, or gave no receipt"
            log.info("a far end has deleted app=%s receipts=%d", asked.app_id, len(asked.receipts))
        except (Refused, SecretFault) as fault:
            asked.state, asked.reason = "parked", self._said(fault)
            log.warning("a request for deletion is parked code=%s", fault.code)
        except LinkFault as fault:
            floor_s = fault.retry_after_s if isinstance(fault, Throttled) else 0.0
            wait_s = self.backoff.wait_s(asked.attempts, self.core.means.rng, floor_s=floor_s)
            asked.attempts += 1
            asked.next_ms = self.core.means.wall_ms() + round(wait_s * 1000) + 1
            asked.reason = self._said(fault)
            log.info("a far end could not be asked to delete code=%s", fault.code)
        except Fault as fault:
            asked.state, asked.reason = "parked", self._said(fault)
            log.warning("a request for deletion is parked code=%s", fault.code)
        self._keep(asked)

    def _place(self, asked: Asked) -> Place:
        """Return where to ask now.

        A token file is the settings' of today: if they name another origin by now, the file may
        hold that one's token, which must not go to the old one (threat row 34).

        Raises:
            Unreachable: The far end on this computer does not listen yet.

        """
        told = FarEnd(upstream=asked.upstream, kind=asked.kind, origin=asked.origin)
        if asked.here:
            if not self.core.housing.endpoint:
                raise Unreachable("the far end on this computer does not listen yet")
            told = msgspec.structs.replace(told, origin=origin_of(self.core.housing.endpoint))
            return Place(asked.app_id, told, here=True)
        today = next(
            (one for one in self.core.far_ends.of(asked.app_id)
             if (one.told.upstream, one.told.origin) == (asked.upstream, asked.origin)),
            None,
        )  # fmt: skip
        return Place(asked.app_id, told, "" if today is None else today.token_file)

    async def _erase(self, api: DataApi, person: str) -> str:
        """Return the receipt; empty if nobody is called so there, or none is given."""
        said = await off_loop(lambda: api.erase(person), name="deletion")
        return said[:MOST_RECEIPT_BYTES].decode("utf-8", "replace").strip()

    def _said(self, fault: Fault) -> str:
        """Return why, without what opens a door: a far end may repeat the token in its words."""
        said = f"{fault}. {fault.advice}".rstrip(". ") + "." if fault.advice else str(fault)
        return self.core.wire.masks.apply(said.encode()).decode("utf-8", "replace")

    def _keep(self, asked: Asked) -> None:
        try:
            write_private(self.folder / f"{asked.id}.json", msgspec.json.encode(asked))
        except Fault as fault:
            if asked.id not in self.requests:
                raise
            log.warning("a request for deletion could not be kept code=%s", fault.code)
        done = sorted(one.id for one in self.requests.values() if one.state == "done")
        for id_ in done[: max(0, len(done) - KEPT)]:
            del self.requests[id_]
            (self.folder / f"{id_}.json").unlink(missing_ok=True)

    def _tell(self) -> None:
        """Show a person what needs one."""
        parked = [one for one in self.requests.values() if one.state == "parked"]
        if parked:
            said = f"{parked[0].origin} was asked to delete data of {parked[0].app_id} and has not"
            reason = parked[0].reason.rstrip(".")
            text = f"{said}: {reason}. `homing data requests` shows it"
            self.core.note("deletion.parked", text, "warning")
        else:
            self.core.unnote("deletion.parked")


def deletion(asked: Asked) -> Deletion:
    """Return a request as the door tells it."""
    return Deletion(
        id=asked.id,
        app_id=asked.app_id,
        upstream=asked.upstream,
        origin=asked.origin,
        state=asked.state,
        persons=tuple(asked.persons),
        answered=asked.answered,
        attempts=asked.attempts,
        made_ms=asked.made_ms,
        next_ms=asked.next_ms if asked.state == "waiting" else None,
        reason=asked.reason,
        receipts=len(asked.receipts),
    )
