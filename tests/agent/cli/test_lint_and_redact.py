"""`homing lint` and `homing redact`: words, JSON, exit codes, and what they ask."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.cli.stubs import stubs
from agent.door.lint import (
    ForgetShapes,
    ListShapes,
    Marked,
    Marks,
    PropertyShape,
    ReadMarks,
    ShapeOf,
    Shapes,
)
from agent.door.redaction import ListRules, ReloadRules, Rules, RuleStatus, Trial, Trials, TryRule
from tracking.errors import AgentGone

NOW_MS = 1_760_000_000_000


def prop(path: str, seen: int = 4, **kinds: int) -> PropertyShape:
    return PropertyShape(
        path=path, kinds=kinds, seen=seen, first_ms=1, last_ms=2, new=False, marks={}
    )


def shape(name: str | None, *properties: PropertyShape, seen: int = 4) -> ShapeOf:
    return ShapeOf(
        app_id="acme",
        language="nucleus",
        type="event",
        name=name,
        seen=seen,
        first_ms=1,
        last_ms=2,
        new=False,
        properties=properties,
    )


SHAPES = (
    shape(
        "build.finished",
        prop("payload.seconds", number=4),
        prop("payload.ok", 2, flag=2),
        prop("payload.who", object=4),
        prop("payload.who.plan", text=3, nothing=1),
        prop("payload.items", list=4),
        prop("payload.items[].sku", 8, text=8),
        prop("payload.first name", text=4),
        prop("userId", text=4),
    ),
    shape('evil"); import os #\n', prop('payload.k"]; x', text=4), prop("payload.class", number=4)),
    shape("<email>"),
    shape(None),
)
MARK = Marked(
    app_id="acme",
    language="nucleus",
    type="event",
    name="signup",
    what="personal",
    path="payload.items[].email",
    detail="email",
    count=12,
    last_ms=NOW_MS,
)


class Scripted:
    """A door's answers to requests, and what was asked."""

    def __init__(self, desk: Any) -> None:
        self.asked: list[Any] = []
        self.answers: dict[type, Any] = {}
        desk.door.ask = self.ask

    def ask(self, request: Any) -> Any:
        self.asked.append(request)
        answer = self.answers[type(request)]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def door(desk: Any) -> Scripted:
    return Scripted(desk)


def test_marks_are_a_table_with_the_rule_that_would_help(desk: Any, door: Scripted) -> None:
    door.answers[ReadMarks] = Marks(marks=(MARK,), in_all=3)
    assert desk.run("lint", "--app", "acme") == 1
    assert door.asked == [ReadMarks(app_id="acme", limit=100)]
    assert "signup  personal: email  payload.items[].email" in desk.said
    assert "2 more; see --limit." in desk.said
    assert "--path '$.payload.items[*].email'" in desk.complained
    assert desk.run("lint", "--json") == 1
    assert json.loads(desk.said)["marks"][0]["detail"] == "email"
    door.answers[ReadMarks] = Marks(marks=(), in_all=0)
    assert desk.run("lint") == 0


def test_shapes_are_told_with_how_many_events_were_looked_at(desk: Any, door: Scripted) -> None:
    door.answers[ListShapes] = Shapes(shapes=SHAPES, seen=12, passed=1_000, unlearned=2)
    assert desk.run("lint", "shapes", "--event", "build.finished") == 0
    assert desk.said.startswith("acme build.finished: seen 4 times\n")
    assert "  payload.who.plan: text 3, nothing 1\n" in desk.said
    assert "12 of 1,000 events were looked at." in desk.said


def test_forgetting_and_stubs_need_to_know_of_what(desk: Any, door: Scripted) -> None:
    assert desk.run("lint", "forget") == 64
    assert desk.run("lint", "stubs", "--app", "acme") == 64
    door.answers[ForgetShapes] = Shapes(shapes=(), seen=0, passed=0, unlearned=0)
    assert desk.run("lint", "forget", "--app", "acme") == 0
    door.answers[ListShapes] = Shapes(shapes=(), seen=0, passed=0, unlearned=0)
    assert desk.run("lint", "stubs", "--app", "acme", "--language", "python") == 64
    door.answers[ListShapes] = Shapes(shapes=SHAPES, seen=0, passed=0, unlearned=0)
    assert desk.run("lint", "stubs", "--app", "acme", "--language", "typescript") == 0
    assert "export interface BuildFinished {" in desk.said


def test_python_stubs_are_a_module_that_knows_its_events(tmp_path: Path) -> None:
    module = stubs("acme", SHAPES, "python")
    tree = ast.parse(module)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert {ast.unparse(call.func) for call in calls} == {"TypedDict"}  # nothing got out of a name
    file = tmp_path / "events.py"
    good = '{"seconds": 1, "who": {"plan": None}, "items": [{"sku": "a"}], "first name": "x"}'
    file.write_text(
        f"{module}\n\ndef use(track: Track) -> None:\n"
        f'    track("build.finished", {good})\n'
        '    track("build.finishd", {})  # type: ignore[call-overload]\n'
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout


def test_typescript_stubs_name_every_event_and_what_is_optional() -> None:
    module = stubs("acme", SHAPES, "typescript")
    assert "  seconds: number;\n  ok?: boolean;\n  who: BuildFinishedWho;\n" in module
    assert "  items: Array<BuildFinishedItemsItem>;\n" in module
    assert '  "first name": string;\n' in module
    assert '  "build.finished": BuildFinished;\n' in module
    assert '  "evil\\"); import os #\\n": EvilImportOs;\n' in module
    assert "<email>" not in module


RULE = RuleStatus(
    name="mail",
    app="*",
    event="*",
    path="$.payload.email",
    pattern="",
    action="mask",
    keep="length",
    examples=1,
    touched=1_204,
    dropped=0,
)


def test_rules_are_a_table_of_what_they_did(desk: Any, door: Scripted) -> None:
    door.answers[ListRules] = Rules(
        rules=(RULE,), machine="errors", machine_touched=7, machine_dropped=0
    )
    assert desk.run("redact") == 0
    assert desk.said.startswith(
        "Names of this computer are taken out of errors (7 events changed).\n"
    )
    assert "mail  *    *      $.payload.email  anything  mask, keep length    1,204" in desk.said
    assert desk.run("redact", "list", "--json") == 0
    assert json.loads(desk.said)["rules"][0]["touched"] == 1204


BEFORE, AFTER = '{"payload":{"email":"a@b.c"}}', '{"payload":{"email":"***"}}'
ADD = ("redact", "add", "--name", "it's mail", "--path", "$.payload.email", "--action", "mask")


def test_a_rule_is_added_below_what_a_person_wrote_and_used_at_once(
    desk: Any, door: Scripted
) -> None:
    door.answers[ReloadRules] = Rules(rules=(), machine="off", machine_touched=0, machine_dropped=0)
    file = desk.home / "config" / "homing.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    mine = '# mine\n[redaction]\nmachine = "all"  # everywhere\n\n[log]\nlevel = "info"\n'
    file.write_text(mine)
    assert desk.run(*ADD, "--example", BEFORE, AFTER, "--dropped", '{"name":"x"}') == 78
    assert file.read_text() == mine  # the second example says that it drops, and it masks
    assert desk.run(*ADD, "--example", BEFORE, AFTER) == 0
    assert "it's mail: 1 example came out as written." in desk.said
    assert file.read_text().startswith(mine)
    assert "in force from now on" in desk.said
    written = tomllib.loads(file.read_text())["redaction"]
    assert written["machine"] == "all"
    assert written["rules"][0]["name"] == "it's mail"
    door.answers[ReloadRules] = AgentGone("nobody")
    args = ("--name", "words", "--pattern", r"\b[a-z]+@x\b", "--action", "drop_event")
    assert desk.run("redact", "add", *args, "--dropped", '{"name":"q a@x"}') == 0
    assert "in force when the agent starts" in desk.said
    assert desk.run("redact", "test") == 0
    assert desk.said == "2 rules, 2 examples: all come out as written.\n"
    assert desk.run(*ADD, "--example", BEFORE, AFTER) == 78  # the name is taken
    assert "used twice" in desk.complained


def test_a_rule_that_comes_out_differently_is_refused_with_the_difference(
    desk: Any, tmp_path: Path
) -> None:
    wrong = (
        "{ path = '$.payload.mail', action = 'mask', examples = [{ before = '%s', after = '%s' }] }"
    )
    assert desk.run("redact", "test", wrong % (BEFORE, AFTER)) == 78
    assert '-    "email": "***"' in desk.complained
    file = tmp_path / "rules.toml"
    file.write_text(
        "[[redaction.rules]]\npath = '$.payload.email'\naction = 'mask'\n"
        f"examples = [{{ before = '{BEFORE}', after = '{AFTER}' }}]\n"
    )
    assert desk.run("redact", "test", str(file)) == 0
    assert desk.said == "1 rule, 1 example: all come out as written.\n"
    assert desk.run("redact", "test", "nobody") == 64
    assert desk.run("redact", "test", "{ path = ") == 78


def test_a_rule_is_tried_before_it_is_written(desk: Any, door: Scripted) -> None:
    door.answers[TryRule] = Trials(
        looked_at=500,
        concerned=40,
        changed=2,
        trials=(
            Trial(at_ms=NOW_MS, app_id="acme", before='{"a":1}', after='{"a":"***"}'),
            Trial(at_ms=NOW_MS, app_id="acme", before='{"b":1}', after=None),
        ),
    )
    said = "{ path = '$.payload.email', action = 'mask' }"
    assert desk.run("redact", "try", said, "--last", "500") == 0
    assert door.asked == [
        TryRule(rule={"path": "$.payload.email", "action": "mask"}, last=500, show=5)
    ]
    assert "Of the newest 500 events, the rule looks at 40 and would change 2." in desk.said
    assert '  - {"a":1}\n  + {"a":"***"}\n' in desk.said
    assert "  + (dropped)\n" in desk.said
    assert desk.run("redact", "try") == 64
