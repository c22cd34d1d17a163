"""A process that is killed loses nothing it had said yes to."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from yard import findings, ids_in

from agent.adapters.outbox.outbox import Outbox

CHILD = """
import sys
from pathlib import Path
from agent.adapters.outbox.outbox import Bounds, Outbox

box = Outbox.open(Path(sys.argv[1]), Bounds(), 0)
stream = box.stream("acme", "nucleus")
number = box.account(stream).accepted
while True:
    with box.turn():
        box.append(stream, [b'{"id":"e%d"}' % n for n in range(number, number + 7)], 1)
        if number % 5 == 0:
            batch = box.lease(stream, 0, 3, 1000)
            if batch is not None:
                box.settle(batch, set(batch.ids[:1]))
    number += 7
    print(number, box.account(stream).delivered, flush=True)
"""


def test_a_killed_process_loses_nothing_it_accepted(
    path: Path, open_box: Callable[..., Outbox]
) -> None:
    rng = random.Random(20261121)
    said = delivered = 0
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(rng.randrange(1, 120)):
                line = child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            rest = [line, *child.stdout.read().splitlines(keepends=True)]
            last = [one for one in rest if one.endswith("\n")][-1]
            said, delivered = map(int, last.split())
        box = open_box()
        stream = box.stream("acme", "nucleus")
        account = box.account(stream)
        assert box.opening.notices == []
        assert account.accepted in (said, said + 7)  # one turn may have ended unsaid
        assert account.delivered in (delivered, delivered + 1)
        assert ids_in(box) == [f"e{n}" for n in range(account.delivered, account.accepted)]
        assert findings(box) == []
        box.close()
