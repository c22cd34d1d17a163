"""Settings: one frozen value, built once, that knows where each part came from.

Later sources win, key by key: built-in defaults, ``homing.toml``, ``HOMING_*`` variables,
command-line flags. Secrets are not settings: they live in the OS keyring
(``agent.adapters.machine.secrets``) or in files that a setting may name, and never pass through
here.
"""

from __future__ import annotations

from agent.settings.declared import Row, Settings, Spec, specs
from agent.settings.reading import load
from agent.settings.upstreams import NUCLEUS, App, Upstream
from agent.settings.writing import default_text, set_value, write_default

__all__ = [
    "NUCLEUS",
    "App",
    "Row",
    "Settings",
    "Spec",
    "Upstream",
    "default_text",
    "load",
    "set_value",
    "specs",
    "write_default",
]
