"""Every setting as a flag, and ``--config``: what `serve` and `config` share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from collector.cli.parser import folder_of
from collector.settings import Loaded, Spec, specs
from collector.settings_reading import load, read_value


def with_settings(parser: argparse.ArgumentParser) -> None:
    """Add one flag per setting; a value that is none ends as any wrong word does."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings; DIR/collector.toml if left out"
    )
    group = parser.add_argument_group("settings", "each also a line of collector.toml")
    for spec in specs():
        shown = ", ".join(spec.default) if isinstance(spec.default, tuple) else spec.default
        group.add_argument(
            spec.flag,
            dest=f"set_{spec.key}",
            type=_reader(spec),
            metavar=spec.key.upper(),
            help=f"{spec.doc} ({shown if shown != '' else 'none'})".replace("%", "%%"),
        )


def settings_of(args: argparse.Namespace) -> Loaded:
    """Return the settings that a command line, the environment and a file make."""
    flags = {
        spec.key: said for spec in specs() if (said := getattr(args, f"set_{spec.key}")) is not None
    }
    return load(folder_of(args).path, os.environ, flags, file=args.config)


def _reader(spec: Spec) -> Callable[[str], str]:
    def read(said: str) -> str:
        try:
            read_value(spec, said, from_text=True)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc
        return said

    return read
