"""One answer for all apps, where a person is not to be asked: a fleet's, or a strict one's own."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.rules.consent import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentSettings:
    """Whether a person is asked before an app may report."""

    all: Policy = field(
        default="ask",
        metadata={
            "doc": "What an app may do that nobody answered for: wait until a person is asked, or"
            " report; deny stops every app, whoever allowed it.",
            "words": ("ask", "allow", "deny"),
        },
    )
