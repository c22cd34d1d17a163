"""docs/networks.md names every state in which the network can be, and every hop that is walked."""

from __future__ import annotations

import re
from pathlib import Path

from agent.runtime.networks.hops import NAMES
from tracking.errors import LoginWanted, NotListed, SignIn, Unproven, Unreachable

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text("utf-8")


def _table(heading: str) -> str:
    """Return the first column of the table below a heading."""
    below = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(line.split("|")[1] for line in below.splitlines() if line.startswith("| `"))


def test_every_state_of_the_network_has_its_row() -> None:
    states = [*Unreachable.__subclasses__(), LoginWanted, NotListed, SignIn, Unproven]
    shown = _table("States")
    ends = {one.rpartition(".")[2] for one in re.findall(r"`([^`]+)`", shown)}
    missing = [one.code for one in states if one.code.rpartition(".")[2] not in ends]
    assert not missing


def test_every_hop_has_its_row() -> None:
    assert re.findall(r"`([^`]+)`", _table("Hop by hop")) == [*NAMES, "acknowledgement"]
