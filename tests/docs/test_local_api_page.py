"""Every line of shell in docs/local-api.md is run against a real agent, and answers as it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.adapters.local.api import Control, _control_routes
from agent.door.table import TABLE
from agent.host import Agent

PAGE = Path(__file__).parents[2] / "docs" / "local-api.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
APPS = """
[[apps]]
id = "acme-notes"
name = "Acme Notes"
  [[apps.upstreams]]
  kind = "nucleus"
  endpoint = "ws://127.0.0.1:9"
[[apps]]
id = "acme-web"
name = "Acme Web"
speaks = ["nucleus", "bucket"]
  [[apps.upstreams]]
  kind = "homing"
  endpoint = "ws://127.0.0.1:9"
"""


@pytest.fixture(scope="module")
def socket_path() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hd-"))
    (folder / "config").mkdir(mode=0o700)
    (folder / "config" / "homing.toml").write_text(APPS)
    agent = Agent({"HOMING_HOME": str(folder)})
    agent.start()
    yield agent.places.socket
    agent.stop()
    shutil.rmtree(folder)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_line_of_the_page_does_what_it_says(
    number: int, socket_path: Path, expected_warnings: Callable[..., None]
) -> None:
    expected_warnings("agent.secrets", "agent.posting")  # no keyring; no key for the far end
    done = subprocess.run(
        ["bash", "-ec", BLOCKS[number]],
        env={**os.environ, "SOCKET": str(socket_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stranger = "/app/stranger/" in BLOCKS[number]
    told_of_an_error = '"error":' in done.stdout
    assert told_of_an_error == (stranger or '"bad"' in BLOCKS[number]), done.stdout


def test_the_page_names_every_route() -> None:
    text = PAGE.read_text("utf-8")
    routes = [route.path for route in _control_routes(NoControl())]
    assert len(routes) == 17 + len(TABLE)
    assert [path for path in routes if path not in text] == []


class NoControl(Control):
    """Never called: only the table of routes is looked at."""
