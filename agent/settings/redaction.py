"""``[redaction]``: what of an event is not to be kept, and the rules of ``[[redaction.rules]]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from agent.rules.machine_names import Reach
from agent.rules.redaction import MOST_RULES, Rule, read_rule
from agent.settings.mistakes import Mistakes, shown
from tracking.errors import SettingsFault

RULES = "redaction.rules"  #: The one list in a table of single values.


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionSettings:
    """What of an event is taken away before it is written anywhere."""

    machine: Reach = field(
        default="errors",
        metadata={
            "doc": "Where the names of this computer, its person and the home folder are taken out:"
            " of errors, of all events, or nowhere.",
            "words": ("errors", "all", "off"),
        },
    )


RULE_DOCS: Mapping[str, str] = MappingProxyType(
    {
        "name": "What to call the rule in counts and commands; its number when left out.",
        "app": "The app whose events it looks at; all when left out.",
        "event": "The events it looks at: a name, or a pattern with * as in checkout.*; all when"
        " left out.",
        "path": "Where it looks: $.payload.email, $.payload..token, $.payload.items[*].name,"
        " $.userId; everywhere when left out.",
        "pattern": "What it looks for in texts, keys and numbers (RE2); anything that is there when"
        " left out.",
        "action": "What becomes of it: drop (the property), drop_event, mask or hash.",
        "keep": "What a mask keeps: nothing, length or kind; nothing when left out.",
        "examples": "Events before and after, tried whenever the file is read; one at least."
        " Without after, the event is dropped.",
    }
)


def read_rules(table: object, path: Path, wrong: Mistakes) -> tuple[Rule, ...]:
    """Read ``[[redaction.rules]]``; mistakes are added, and what they stand in is left out."""
    entries = table.get("rules", []) if isinstance(table, Mapping) else []
    where = f"{path}: {RULES}"
    if not isinstance(entries, list) or not all(isinstance(one, Mapping) for one in entries):
        wrong.add(where, f"must be a list of tables, [[{RULES}]], got {shown(entries)}")
        return ()
    if len(entries) > MOST_RULES:
        wrong.add(where, f"holds {len(entries)} rules, at most {MOST_RULES} are possible")
        return ()
    rules: list[Rule] = []
    for number, entry in enumerate(entries, 1):
        try:
            rule = read_rule(entry, number)
        except SettingsFault as fault:
            wrong.add(f"{where}[{number}]", str(fault))
            continue
        if any(rule.name == other.name for other in rules):
            wrong.add(f"{where}[{number}]", f"the name {rule.name!r} is used twice")
        else:
            rules.append(rule)
    return tuple(rules)
