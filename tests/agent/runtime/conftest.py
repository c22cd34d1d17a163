"""A real outbox and an intake on it, with clocks that a test turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.adapters.outbox.outbox import Bounds, Outbox
from agent.rules.consent import Consent
from agent.rules.quota import Bucket
from agent.rules.stamp import Identity, MachineFacts
from agent.rules.ways import only_way
from agent.runtime.counter.desk import Desk, Lane
from agent.runtime.counter.intake import Intake
from agent.runtime.people.consents import Consents
from agent.settings import Settings
from tracking.endpoints import Origin, Receipt
from tracking.events import Frame
from tracking.nucleus import parse_frame

ORIGIN = Origin(transport="http", connection=1, peer="test", received_ms=0)
FACTS = MachineFacts(platform="linux", os_version="12", total_ram=24, language="en", arch="x64")


def _nobody(*_said: str) -> None:
    """Hear what would be shown to a person."""


@dataclass
class Counter:
    """An intake, what it was asked to do, and what it answered."""

    outbox: Outbox
    desks: dict[str, Desk]
    now_ms: int = 1_795_225_137_848
    now_s: float = 0.0
    planned: int = 0
    unnamed: list[str] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    sessions: int = 1000

    def __post_init__(self) -> None:
        self.consents = Consents(
            self.outbox.path.with_name("consents.json"),
            Settings(),
            self.desks,
            embedded=(),
            env={},
            wall_ms=lambda: self.now_ms,
            note=_nobody,
            unnote=_nobody,
        )
        self.intake = Intake(
            self.outbox,
            self.desks,
            gate=self.consents.gate,
            facts=FACTS,
            module_version="0.1.0",
            wall_ms=lambda: self.now_ms,
            mono_s=lambda: self.now_s,
            plan=self._plan,
            identify=lambda desk: self.unnamed.append(desk.app_id),
            fresh_session=self._fresh,
        )

    def _plan(self) -> None:
        self.planned += 1

    def _fresh(self, _recent: object) -> int:
        self.sessions += 1
        return self.sessions

    def say(self, raw: bytes, app_id: str = "acme") -> Frame:
        """Hand a frame in; the receipt arrives in ``receipts``."""
        frame = parse_frame(raw)
        self.intake.take(app_id, frame, ORIGIN, self.receipts.append)
        return frame

    def stored(self, app_id: str | None = None) -> list[bytes]:
        return [row.body for row in self.outbox.export(app_id)]


def make_desk(outbox: Outbox, app_id: str, consent: Consent = Consent.ALLOWED) -> Desk:
    desk = Desk(
        app_id=app_id,
        name=app_id,
        version="1.2.3",
        consent=consent,
        consent_from="settings file",
        bucket=Bucket(),
    )
    if consent is Consent.ALLOWED:
        desk.lanes = (Lane(only_way(), outbox.stream(app_id, "nucleus")),)
        desk.change(identity=Identity(device_id=f"device-{app_id}", anon_id="xfQDpOf5gU2R"))
    return desk


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox.open(tmp_path / "outbox.db", Bounds(), 1_795_225_137_848)
    yield box
    box.close()


@pytest.fixture
def counter(outbox: Outbox) -> Counter:
    return Counter(outbox, {name: make_desk(outbox, name) for name in ("acme", "other")})
