"""The oracle is worth no more than what it notices."""

from __future__ import annotations

from typing import Any

import pytest
from oracle import check_ledger, compare

PROMISED = [[{"producer": 1, "number": n, "text": "ü"} for n in range(5)]]


def _arrived() -> list[dict[str, Any]]:
    return [
        {"type": "event", "id": f"i{said['number']}", "payload": dict(said)} for said in PROMISED[0]
    ]


def test_it_is_content_when_everything_arrived() -> None:
    compare(PROMISED, [{"type": "init", "id": "i", "payload": None}, *_arrived()])
    assert len(_arrived()) == 5


@pytest.mark.parametrize(
    "fault", ["missing", "doubled", "under another id", "order", "changed", "extra"]
)
def test_it_notices(fault: str) -> None:
    arrived = _arrived()
    match fault:
        case "missing":
            del arrived[2]
        case "doubled":
            arrived.append(arrived[2])
        case "under another id":
            arrived.append({**arrived[2], "id": "another"})
        case "order":
            arrived[1], arrived[2] = arrived[2], arrived[1]
        case "changed":
            arrived[3]["payload"]["text"] = "u"
        case "extra":
            arrived.append({"type": "event", "id": "i9", "payload": {"producer": 1, "number": 9}})
    with pytest.raises(AssertionError):
        compare(PROMISED, arrived)


@pytest.mark.parametrize(
    "wrong",
    [
        {"delivered": 4},
        {"balanced": False},
        {"dead": 1, "delivered": 4},
        {"lost": {"expired": 1}, "delivered": 4},
    ],
)
def test_it_notices_a_ledger_that_does_not_balance(wrong: dict[str, Any]) -> None:
    well = {"accepted": 5, "delivered": 5, "pending": 0, "dead": 0, "lost": {}, "balanced": True}
    check_ledger(well)
    with pytest.raises(AssertionError):
        check_ledger(well | wrong)
