"""The command `homing`: one dispatcher that imports only the room it needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping


def main() -> int:
    """Run the room that the first word names."""
    if sys.argv[1:2] == ["collector"]:
        from collector.cli import main as collector

        return collector(sys.argv[2:])
    from agent.cli import main as agent

    return agent(sys.argv[1:], face=_face)


def _face(env: Mapping[str, str], keep_here: bool) -> int:
    from homing.tray import show

    return show(env, keep_here=keep_here)


if __name__ == "__main__":
    sys.exit(main())
