"""The command `homing`: one dispatcher that imports only the room it needs."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the room that the first word names."""
    if sys.argv[1:2] == ["collector"]:
        from collector.cli import main as collector

        return collector(sys.argv[2:])
    from agent.cli import main as agent

    return agent(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
