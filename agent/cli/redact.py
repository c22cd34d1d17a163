"""`homing redact`: what of events is not to be kept; rules are tried before they are written."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.adapters.machine.places import Places
from agent.cli.parser import at_least_one, one_of, text
from agent.cli.shell import OK, Shell, UsageFault
from agent.cli.table import clock, rows
from agent.door.redaction import ListRules, ReloadRules, Trials, TryRule
from agent.rules.redaction import RULE_KEYS, Rule, read_rule
from agent.rules.wording import count, events, some, visible
from agent.settings import load
from tracking.errors import AgentGone, SettingsFault

if TYPE_CHECKING:
    from agent.cli.parser import Parser

ACTIONS = ("list", "test", "try", "add")
MOST_FILE_BYTES = 1024 * 1024
HELP = {
    "name": "what to call it",
    "app": "the app whose events it looks at; all without it",
    "event": "the events it looks at, as checkout.*; all without it",
    "path": "where it looks, as $.payload.email; everywhere without it",
    "pattern": "what it looks for (RE2); anything without it",
    "action": "drop, drop_event, mask or hash",
    "keep": "what a mask keeps: length or kind",
}


def declare(_name: str, parser: Parser) -> None:
    """Add the options of `redact`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        type=one_of(*ACTIONS),
        help="list (default), test the examples, try on the newest events, or add",
    )
    parser.add_argument(
        "rule",
        nargs="?",
        metavar="RULE",
        type=text,
        help="test, try: the name of a rule of homing.toml, a file with rules, or a rule"
        ' as \'{ path = "$.payload.email", action = "mask" }\'',
    )
    for key in RULE_KEYS[:-1]:
        parser.add_argument(
            f"--{key}",
            dest=f"rule_{key}",
            metavar=key.upper(),
            type=text,
            default="",
            help=f"add: {HELP[key]}",
        )
    parser.add_argument(
        "--example",
        metavar=("BEFORE", "AFTER"),
        nargs=2,
        action="append",
        default=[],
        type=text,
        help="add: an event before and after, as JSON; as often as you like",
    )
    parser.add_argument(
        "--dropped",
        metavar="BEFORE",
        action="append",
        default=[],
        type=text,
        help="add: an event that is to be dropped, as JSON",
    )
    parser.add_argument(
        "--last", metavar="N", type=at_least_one, default=500, help="try: newest events (500)"
    )
    parser.add_argument(
        "--show", metavar="N", type=at_least_one, default=5, help="try: how many to print (5)"
    )
    parser.json_option()
    parser.set_defaults(run=redact)


def redact(args: argparse.Namespace, shell: Shell) -> int:
    """Carry out one action."""
    if args.rule is not None and args.action in ("list", "add"):
        raise UsageFault(f"`homing redact {args.action}` takes no rule of that form")
    match args.action:
        case "test":
            return _test(args, shell)
        case "try":
            return _try(args, shell)
        case "add":
            return _add(args, shell)
    return _list(shell, as_json=args.json)


def _list(shell: Shell, *, as_json: bool) -> int:
    found = shell.door().ask(ListRules())
    if as_json:
        shell.json(found)
        return OK
    where = {"errors": "errors", "all": "all events", "off": "nothing"}[found.machine]
    shell.say(
        f"Names of this computer are taken out of {where}"
        f" ({events(found.machine_touched)} changed)."
    )
    if not found.rules:
        shell.say("There are no rules of your own; see `homing redact --help`.")
        return OK
    head = ("RULE", "APP", "EVENT", "WHERE", "WHAT", "ACTION", "CHANGED", "DROPPED")
    body = [
        (
            rule.name,
            rule.app,
            rule.event,
            rule.path or "everywhere",
            rule.pattern or "anything",
            rule.action if rule.keep == "nothing" else f"{rule.action}, keep {rule.keep}",
            count(rule.touched),
            count(rule.dropped),
        )
        for rule in found.rules
    ]
    for line in rows(head, body, right="      >>"):
        shell.say(line)
    return OK


def _test(args: argparse.Namespace, shell: Shell) -> int:
    """Run the examples of rules; an example that comes out differently is exit code 78."""
    if args.rule is None:
        rules = load(Places.find(shell.env).settings_file, shell.env).rules
    else:
        rules = tuple(read_rule(entry, n) for n, entry in enumerate(_entries(args, shell), 1))
    told = [{"name": rule.name, "examples": len(rule.examples)} for rule in rules]
    if args.json:
        shell.json(told)
    else:
        number = sum(len(rule.examples) for rule in rules)
        shell.say(
            f"{some(len(rules), 'rule')}, {some(number, 'example')}: all come out as written."
        )
    return OK


def _try(args: argparse.Namespace, shell: Shell) -> int:
    if args.rule is None:
        raise UsageFault("`homing redact try` needs a rule", advice="Its name, a file, or itself.")
    entries = _entries(args, shell)
    if len(entries) != 1:
        raise UsageFault(f"one rule is tried at a time, got {len(entries)}")
    tried = shell.door().ask(TryRule(rule=entries[0], last=args.last, show=args.show))
    if args.json:
        shell.json(tried)
    else:
        _show(tried, shell)
    return OK


def _show(tried: Trials, shell: Shell) -> None:
    shell.say(
        f"Of the newest {events(tried.looked_at)}, the rule looks at {count(tried.concerned)}"
        f" and would change {count(tried.changed)}."
    )
    for trial in tried.trials:
        shell.say(f"{clock(trial.at_ms)} {visible(trial.app_id, 60)}")
        shell.say(f"  - {visible(trial.before, 1000)}")
        after = "(dropped)" if trial.after is None else visible(trial.after, 1000)
        shell.say(f"  + {after}")


def _add(args: argparse.Namespace, shell: Shell) -> int:
    from agent.settings.rule_writing import add_rule

    entry: dict[str, Any] = {key: getattr(args, f"rule_{key}") for key in RULE_KEYS[:-1]}
    entry["examples"] = [{"before": before, "after": after} for before, after in args.example]
    entry["examples"] += [{"before": before} for before in args.dropped]
    file = Places.find(shell.env).settings_file
    rule = add_rule(file, entry).rules[-1]
    in_force = _reloaded(shell)
    if args.json:
        shell.json({"name": rule.name, "file": str(file), "in_force": in_force})
        return OK
    examples = some(len(rule.examples), "example")
    shell.say(f"{visible(rule.name)}: {examples} came out as written.")
    when = "in force from now on" if in_force else "in force when the agent starts"
    shell.say(f"It stands in {file} and is {when}.")
    return OK


def _reloaded(shell: Shell) -> bool:
    try:
        shell.door().ask(ReloadRules())
    except AgentGone:
        return False
    return True


def _entries(args: argparse.Namespace, shell: Shell) -> list[dict[str, Any]]:
    """Return the rules that a word means: by name, in a file, or written out."""
    said: str = args.rule
    if said.lstrip().startswith("{"):
        return [_parsed(f"rule = {said.strip()}", "the rule")["rule"]]
    path = Path(said)
    if path.is_file():
        if path.stat().st_size > MOST_FILE_BYTES:
            raise UsageFault(f"{said} is larger than any file of rules")
        told = _parsed(path.read_text("utf-8", "replace"), said)
        table = told.get("redaction", told)
        found = table.get("rules", []) if isinstance(table, dict) else []
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise SettingsFault(f"{said}: rules must be a list of tables, [[redaction.rules]]")
        return found
    rules = load(Places.find(shell.env).settings_file, shell.env).rules
    named = next((rule for rule in rules if rule.name == said), None)
    if named is None:
        known = ", ".join(visible(rule.name) for rule in rules) or "none"
        raise UsageFault(
            f"no rule is named {visible(said)!r}, and no file either",
            advice=f"Rules of homing.toml: {known}.",
        )
    return [_entry_of(named)]


def _entry_of(rule: Rule) -> dict[str, Any]:
    """Return a rule as the table that it was made of."""
    examples: list[dict[str, Any]] = []
    for one in rule.examples:
        after = {} if one.after is None else {"after": json.loads(one.after)}
        examples.append({"before": json.loads(one.before)} | after)
    told = {key: getattr(rule, key) for key in RULE_KEYS[:-1]}
    return told | {"examples": examples}


def _parsed(said: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(said)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SettingsFault(f"{where}: {exc}", advice="It must be TOML; see toml.io.") from exc
