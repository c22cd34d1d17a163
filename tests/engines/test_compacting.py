"""`compact` on ClickHouse: it waits for the server, says so and how long, and can be stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from collectors import PROGRAM, Collector, command, row, until
from servers import ClickHouse

from collector.places import Folder
from collector.store.clickhouse import ClickHouseStore
from collector.store.clickhouse_address import PASSWORD, Address


@pytest.mark.parametrize("serving", [False, True])
def test_the_waiting_is_announced_shown_and_ended_by_ctrl_c(
    clickhouse: ClickHouse, database: str, where: Address, tmp_path: Path, serving: bool
) -> None:
    folder = Folder(tmp_path / "data").prepare()
    with contextlib.closing(ClickHouseStore(where)) as store:
        store.write([row(name=f"n{n}", user_id="u") for n in range(100)])
        store.erase("A", users=["u"], devices=[])
        assert store.unswept > 0, "the server keeps replaced files for a minute and a half"
    (folder.path / "collector.toml").write_text(f'engine = "{clickhouse.engine(database)}"\n')
    env = os.environ | {PASSWORD: clickhouse.password, "TERM": "xterm", "COLUMNS": "100"}
    far_end = Collector(folder.path, env=env) if serving else None
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "compact", "--data-dir", str(folder.path)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=env,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"compacting" not in shown or b"0/" not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the terminal is gone with its last writer
            while more := os.read(ours, 4096):
                shown += more
        out, _ = process.communicate(timeout=15)
        assert process.returncode == 130, shown
        assert b"15 minutes at most" in shown.partition(b"compacting")[0]
        assert b"stopped; ClickHouse goes on removing the files by itself" in shown
        assert out == b""
        if far_end is not None:  # the server waits no longer either

            def free() -> bool:
                done = far_end.command("demo", "--remove", "--app", "none")
                return done.returncode == 64

            until(free)
            assert far_end.stop() == 0
    finally:
        os.close(ours)
        process.kill()
        process.wait()
        if far_end is not None:
            far_end.kill()
    assert command("status", folder=folder.path).returncode == 69
