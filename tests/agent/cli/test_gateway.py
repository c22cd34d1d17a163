"""`homing apps token`, `tokens`, `revoke`: what is printed, and what the exit code promises."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from agent.cli.shell import DEGRADED, OK, USAGE
from agent.door.gateway import (
    GatewayStatus,
    GatewayToken,
    GiveToken,
    ListTokens,
    NewToken,
    Revoked,
    RevokeTokens,
    SdkLine,
)
from agent.rules.sdk_lines import sdk_lines
from tracking.errors import RequestFault

TOKEN = "m3mbe6-o7QZ4m9x0f2rT1uVwXyZaBcDeFgHiJkLmNoP"


def _given(**changes: Any) -> NewToken:
    lines = [
        SdkLine(sdk=one.sdk, line=one.line, language=one.language)
        for one in sdk_lines("acme-notes", 23456, TOKEN)
    ]
    known = {
        "app_id": "acme-notes",
        "token": TOKEN,
        "prefix": TOKEN[:6],
        "port": 23456,
        "lines": tuple(lines),
        "consent": "allowed",
    }
    return NewToken(**(known | changes))


def test_a_token_is_printed_in_the_line_of_each_sdk(desk: Any) -> None:
    desk.door.answers[GiveToken] = _given(origins=("tauri://localhost",))
    words = "apps token acme-notes --gateway --origin tauri://localhost --origin app://main"
    assert desk.run(*shlex.split(words)) == OK
    request = desk.door.asked[-1][1][0]
    assert request == GiveToken(app_id="acme-notes", origins=("tauri://localhost", "app://main"))
    for one in sdk_lines("acme-notes", 23456, TOKEN):
        assert f"\n{one.sdk}\n  {one.line}\n" in desk.said
    assert "shown once" in desk.said
    assert f"homing apps revoke acme-notes {TOKEN[:6]}\n" in desk.said
    assert "Pages that may use it: tauri://localhost\n" in desk.said
    assert desk.complained == ""


def test_what_a_token_does_not_replace_and_what_hinders_is_said(desk: Any) -> None:
    desk.door.answers[GiveToken] = _given(
        consent="pending",
        warnings=("the origin null is that of every sandboxed frame",),
        listening=False,
        why="cannot listen on port 23456",
    )
    assert desk.run("apps", "token", "acme-notes", "--gateway") == DEGRADED
    assert "may not report yet, it is pending" in desk.complained
    assert "homing apps allow acme-notes" in desk.complained
    assert "every sandboxed frame" in desk.complained
    assert "cannot listen on port 23456" in desk.complained


def test_a_token_for_a_script_is_json(desk: Any) -> None:
    desk.door.answers[GiveToken] = _given()
    assert desk.run("apps", "token", "acme-notes", "--gateway", "--json") == OK
    said = json.loads(desk.said)
    assert (said["token"], said["port"], said["lines"][0]["sdk"]) == (
        TOKEN,
        23456,
        "nucleus-nodejs",
    )


def test_a_token_says_what_it_is_for(desk: Any) -> None:
    assert desk.run("apps", "token", "acme-notes") == USAGE
    assert "homing apps token acme-notes --gateway" in desk.complained
    assert desk.door.asked == []


def test_the_tokens_are_listed_without_what_opens(desk: Any) -> None:
    desk.door.answers[ListTokens] = GatewayStatus(
        listening=True,
        port=23456,
        tokens=(
            GatewayToken(
                app_id="acme-notes",
                prefix="m3mbe6",
                created_ms=1_760_000_000_000,
                last_used="2025-10-09",
                origins=("tauri://localhost",),
            ),
            GatewayToken(app_id="acme-ci", prefix="Zz-_09", created_ms=1_760_000_000_000),
        ),
    )
    assert desk.run("apps", "tokens") == OK
    rows = [line.split() for line in desk.said.splitlines()]
    assert rows[1][:2] == ["acme-notes", "m3mbe6…"]
    assert rows[1][-2:] == ["2025-10-09", "tauri://localhost"]
    assert rows[2][-1] == "never"
    assert "listens on 127.0.0.1:23456" in desk.said
    assert desk.run("apps", "tokens", "acme-ci", "--json") == OK
    assert desk.door.asked[-1][1][0] == ListTokens(app_id="acme-ci")
    assert json.loads(desk.said)["listening"] is True


def test_a_gateway_that_nobody_reaches_is_degraded(desk: Any) -> None:
    desk.door.answers[ListTokens] = GatewayStatus(listening=False, port=23456, why="port taken")
    assert desk.run("apps", "tokens", "acme-notes") == DEGRADED
    assert "No gateway token of acme-notes." in desk.said
    assert "port taken" in desk.complained


@pytest.mark.parametrize("prefix", ["m3mbe6", "m3mbe6…"])
def test_a_token_is_taken_back_by_its_beginning(prefix: str, desk: Any) -> None:
    desk.door.answers[RevokeTokens] = Revoked(prefixes=("m3mbe6",), listening=True)
    assert desk.run("apps", "revoke", "acme-notes", prefix) == OK
    assert desk.door.asked[-1][1][0] == RevokeTokens(app_id="acme-notes", prefix="m3mbe6")
    assert desk.said == "m3mbe6… of acme-notes opens nothing any more.\n"


def test_the_last_one_closes_the_gateway(desk: Any) -> None:
    desk.door.answers[RevokeTokens] = Revoked(prefixes=("m3mbe6", "Zz-_09"), listening=False)
    assert desk.run("apps", "revoke", "acme-notes") == OK
    assert desk.said.endswith("That was the last token: the gateway is closed.\n")
    assert desk.run("apps", "revoke", "acme-notes", "--json") == OK
    assert json.loads(desk.said) == {"prefixes": ["m3mbe6", "Zz-_09"], "listening": False}


def test_a_refusal_of_the_agent_is_a_mistake_of_usage(desk: Any) -> None:
    def refuse(request: RevokeTokens) -> Revoked:
        raise RequestFault(f"{request.app_id} has no gateway token", status=404)

    desk.door.answers[RevokeTokens] = refuse
    assert desk.run("apps", "revoke", "acme-notes") == USAGE
    assert "acme-notes has no gateway token" in desk.complained
