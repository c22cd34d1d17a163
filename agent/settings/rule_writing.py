"""Adding a rule of redaction to the settings file, which otherwise stays as a person wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from agent.rules.redaction import RULE_KEYS, read_rule
from agent.settings.declared import Settings
from agent.settings.reading import check_text, read_file
from agent.settings.redaction import RULES
from agent.settings.writing import default_text, replace


def add_rule(path: Path, entry: Mapping[str, object]) -> Settings:
    """Append a rule to the file, as the last that is applied.

    Args:
        path: ``homing.toml``; made from the commented file if it does not exist.
        entry: The rule, as a table of the file; what is empty is left out.

    Returns:
        The settings as the file alone now says them.

    Raises:
        SettingsFault: The rule is impossible, an example of it comes out differently, or the file
            was wrong before. Nothing was written.
        StorageFault: The file cannot be written.

    """
    told = {key: entry[key] for key in RULE_KEYS if entry.get(key)}
    read_rule(told)
    read_file(path)  # refuses what others can change, what is no TOML, what is far too large
    before = path.read_text("utf-8") if path.exists() else default_text()
    after = f"{before.rstrip()}\n\n{rule_text(told)}"
    settings = check_text(after, path)
    replace(path, after)
    return settings


def rule_text(entry: Mapping[str, object]) -> str:
    """Return a rule as the settings file has it; events of examples are texts of JSON."""
    lines = [f"[[{RULES}]]"]
    lines += [f"{key} = {_text(value)}" for key, value in entry.items() if key != "examples"]
    lines.append("examples = [")
    examples = entry.get("examples")
    for example in examples if isinstance(examples, list) else ():
        parts = ", ".join(f"{key} = {_text(value)}" for key, value in example.items())
        lines.append(f"  {{ {parts} }},")
    lines.append("]")
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    """Return a text as TOML, in the quotes that need no escapes if there are any."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "'" not in text and text.isprintable():
        return f"'{text}'" if '"' in text or "\\" in text else f'"{text}"'
    return json.dumps(text)
