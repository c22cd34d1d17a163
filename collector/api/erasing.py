"""DELETE: a person is erased from every table, and whoever asked may have it in writing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from starlette.responses import Response

from collector.api.answers_more import MoreAnswers
from collector.api.parameters import Asked
from collector.forgetting import DEADLINE_S, Forgetting
from collector.receipts import Seal
from collector.store.questions import Questions
from collector.store.questions_people import Person
from tracking.errors import StorageFault


class Erased(NamedTuple):
    """What an erasure did: rows by table, when, what is not swept from the files yet, and how many
    folders it did not go into."""

    rows: dict[str, int]
    at_ms: int
    unswept: int
    set_aside: int


@dataclass(frozen=True, slots=True)
class ErasingAnswers(MoreAnswers):
    """The deletion.

    Args:
        forgetting: Erases, on the thread that writes; None in a process that may not.
        seal: Signs receipts, made when the first is asked for.
        set_aside: Counts the folders that restores set aside.

    """

    forgetting: Forgetting | None = None
    seal: Callable[[], Seal] | None = None
    set_aside: Callable[[], int] = lambda: 0

    async def erase(self, app: str, asked: Asked) -> object:
        wants_receipt = asked.wants_receipt()
        who = await self.person(app, asked)
        if self.forgetting is None or self.seal is None:
            raise StorageFault("this process cannot erase")
        seal = await self.threads.run(self.seal) if wants_receipt else None
        # One turn of the writer: what is counted is what is erased, and nothing comes between.
        forgetting = self.forgetting
        set_aside = self.set_aside
        erased = await forgetting.writer.run(lambda: _erase(forgetting, app, who, set_aside()))
        if seal is None:
            return Response(status_code=204)
        receipt = seal.receipt(
            app,
            who.id,
            erased.rows,
            at_ms=erased.at_ms,
            unswept=erased.unswept,
            set_aside=erased.set_aside,
        )
        return Response(msgspec.json.encode(receipt), media_type="application/json")


def _erase(forgetting: Forgetting, app: str, who: Person, set_aside: int) -> Erased:
    store = forgetting.store
    questions = Questions(store, DEADLINE_S)
    if who.kind == "u":
        devices, users = forgetting.devices_of(app, who.id), [who.id]
    else:
        devices, users = questions.devices_of(app, who), []
    rows = questions.held(app, who, devices)
    at_ms = forgetting.erase(app, users, devices).at_ms
    return Erased(rows, at_ms, store.unswept, set_aside)
