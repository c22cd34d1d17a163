"""`homing wire`: pages, filters, following, and frames as a person reads them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from agent.door import WireEntry
from agent.door.wire import ReadWire, WirePage
from tracking.errors import AgentGone

LONG = "x" * 200


def entry(n: int, text: str = "{}", **more: Any) -> WireEntry:
    said: dict[str, Any] = {"at_ms": n, "app_id": "acme", "direction": "sent", "size": len(text)}
    return WireEntry(n=n, text=text, **said | more)


def test_every_filter_reaches_the_agent(desk: Any) -> None:
    words = ["wire", "--app", "a", "--upstream", "main", "--direction", "sent"]
    words += ["--verdict", "refused", "--search", "grün", "--since", "1h", "--limit", "3"]
    assert desk.run(*words) == 0
    ((_, (asked,)),) = desk.door.asked
    assert asked.since_ms > 0
    assert msgspec.structs.replace(asked, since_ms=0) == ReadWire(
        app_id="a", upstream="main", direction="sent", verdict="refused", search="grün", limit=3
    )
    assert "Nothing in the record of the wire fits for a." in desk.said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--direction", "snet"], "did you mean sent?"),
        (["--verdict", "acknoledged"], "did you mean acknowledged?"),
        (["--limit", "10001"], "at most 10,000"),
        (["--since", "soon"], "is not a time"),
    ],
)
def test_a_mistake_is_told_with_what_was_meant(desk: Any, words: list[str], said: str) -> None:
    assert desk.run("wire", *words) == 64
    assert said in desk.complained


def test_more_than_a_page_is_asked_for_page_by_page(desk: Any) -> None:
    everything = [entry(n) for n in range(10, 0, -1)]

    def answer(request: ReadWire) -> WirePage:
        fitting = [one for one in everything if request.before is None or one.n < request.before]
        page = tuple(fitting[: min(4, request.limit)])
        return WirePage(entries=page, newest=10, more=len(page) < len(fitting))

    desk.door.answers[ReadWire] = answer
    assert desk.run("wire", "--limit", "9", "--json") == 0
    assert [one["n"] for one in json.loads(desk.said)] == list(range(2, 11))


def test_following_prints_what_comes_and_its_verdicts_until_ctrl_c(desk: Any) -> None:
    pages = iter(
        [
            WirePage(entries=(entry(1, "first"),), newest=1),
            WirePage(entries=(entry(2, "second"),), newest=2),
            WirePage(newest=2),
            WirePage(
                entries=(entry(3, "", kind="verdict", of=2, verdict="acknowledged 1 of 1"),),
                newest=3,
            ),
        ]
    )
    asked: list[int | None] = []

    def answer(request: ReadWire) -> WirePage:
        asked.append(request.after)
        try:
            return next(pages)
        except StopIteration:
            raise KeyboardInterrupt from None

    desk.door.answers[ReadWire] = answer
    assert desk.run("wire", "--follow") == 130
    lines = desk.said.splitlines()
    assert [line.strip() for line in lines[1:4:2]] == ["first", "second"]
    assert lines[4].endswith("↳ acme no. 2: acknowledged 1 of 1")
    assert asked == [None, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("newest", "after"),
    [(7, 5), (2, 2)],  # the second: everything was forgotten, and its numbers begin anew
)
def test_following_goes_on_with_the_next_agent_where_it_was(
    desk: Any, newest: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.cli.wire.AGAIN_S", 0.01)
    gone = AgentGone("no agent")
    turns: list[WirePage | BaseException] = [
        WirePage(entries=(entry(5, "before"),), newest=5),
        gone,  # it ends
        gone,  # it is not back yet
        WirePage(entries=(entry(newest, "newest"),), newest=newest),
        WirePage(entries=(entry(8, "behind"),), newest=8),
        KeyboardInterrupt(),
    ]
    asked: list[int | None] = []

    def answer(request: ReadWire) -> WirePage:
        asked.append(request.after)
        turn = turns.pop(0)
        if isinstance(turn, WirePage):
            return turn
        raise turn

    desk.door.answers[ReadWire] = answer
    assert desk.run("wire", "--follow") == 130
    assert [line.strip() for line in desk.said.splitlines()[1::2]] == ["before", "behind"]
    assert asked == [None, 5, None, None, after, 8]
    assert desk.complained.count("waiting until it is back") == 1


def test_without_an_agent_there_is_nothing_to_follow(desk: Any) -> None:
    def answer(request: ReadWire) -> WirePage:
        raise AgentGone("no agent")

    desk.door.answers[ReadWire] = answer
    assert desk.run("wire", "--follow") == 69


def test_a_line_says_who_what_how_much_to_whom_and_what_became_of_it(desk: Any) -> None:
    desk.door.frames = (
        entry(
            1, "", upstream="bucket", kind="http", head="POST /***/event", size=1_234,
            peer="CN=far.example", verdict="refused: 400 no",
        ),
    )  # fmt: skip
    assert desk.run("wire") == 0
    line = desk.said.splitlines()[0]
    assert line.endswith(
        "→ acme/bucket http POST /***/event 1.2 KiB [CN=far.example] · refused: 400 no"
    )


def test_frames_are_shown_one_event_a_line_and_heads_line_by_line(desk: Any) -> None:
    frame = json.dumps({"data": [{"id": "a", "name": LONG}, {"id": "b"}], "more": 1})
    desk.door.frames = (entry(2, frame), entry(1, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert desk.run("wire") == 0
    lines = desk.said.splitlines()
    assert lines[1:3] == ["  GET / HTTP/1.1", "  Host: x"]
    assert lines[4:] == [
        '  {"data": [',
        f'    {{"id": "a", "name": "{LONG}"}},',
        '    {"id": "b"}',
        '  ], "more": 1}',
    ]
    desk.door.frames = (entry(3, f"POST /bulk HTTP/1.1\r\nHost: x\r\n\r\n{frame}"),)
    assert desk.run("wire") == 0
    assert desk.said.splitlines()[-5:-3] == ["  Host: x", '  {"data": [']
    desk.door.frames = (entry(2, frame), entry(1, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert desk.run("wire", "--raw") == 0
    assert desk.said.splitlines()[3] == f"  {frame}"


def test_what_was_not_kept_is_said(desk: Any) -> None:
    desk.door.answers[ReadWire] = WirePage(entries=(entry(1),), dropped=1_234)
    assert desk.run("wire") == 0
    assert "1,234 were not kept" in desk.complained


@pytest.mark.parametrize("text", ['{"data":[' + "[" * 300, "{" + LONG, "[]", '{"a":' + "9" * 400])
def test_broken_json_is_shown_as_it_is(desk: Any, text: str) -> None:
    desk.door.frames = (entry(1, text),)
    assert desk.run("wire") == 0
    assert text in desk.said
