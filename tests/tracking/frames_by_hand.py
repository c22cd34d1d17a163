"""Frames and events as a test writes them: one line, read by the language itself."""

from __future__ import annotations

import json
from typing import Any

from tracking.events import Event, Frame
from tracking.nucleus import parse_frame


def parse(*events: Any, **top: Any) -> Frame:
    return parse_frame(json.dumps({**top, "data": list(events)}))


def only(**fields: Any) -> Event:
    frame = parse(fields)
    assert not frame.refused, frame.refused[0].fault
    (event,) = frame.events + frame.heartbeats
    return event


def fault(**fields: Any) -> str:
    frame = parse(fields)
    assert not frame.events
    return str(frame.refused[0].fault)
