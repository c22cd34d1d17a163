"""The table of endpoints: path, scope, parameters, and what is answered.

The routes, the guards, the OpenAPI document, the readable page and their tests are all made from
it: an endpoint that is not here is not served, and one that is here is guarded and documented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from collector.api import parameters as p
from collector.api import shapes as s
from collector.api.parameters import Parameter

BASE: Final = "/api/v1/apps/:appId"
Scope = Literal["stats:read", "users:read", "users:delete", "admin"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One question.

    Attributes:
        name: The method of :class:`collector.api.answers.Answers` that answers.
        path: Below :data:`BASE`; ``:name`` is one segment, percent-decoded.
        scope: What the token must have; ``admin`` opens everything.
        answer: A class of :mod:`collector.api.shapes`; None is 204 without a body.
        summary: One line.
        doc: More, for the readable page.
        params: In the query, or in the body of a POST.
        method: GET also answers to POST.
        heavy: It looks at many rows, so it waits for its turn.
        missing: It may answer 404: something in the path is unknown.
        group: Where the page shows it.

    """

    name: str
    path: str
    scope: Scope
    answer: Any
    summary: str
    doc: str = ""
    params: tuple[Parameter, ...] = ()
    method: Literal["GET", "DELETE"] = "GET"
    heavy: bool = True
    missing: bool = False
    group: str = "Analytics"

    @property
    def full(self) -> str:
        """The whole path."""
        return BASE + self.path


ENDPOINTS: Final = (
    Endpoint(
        "quickglance", "/analytics/quickglance", "stats:read", s.Data[s.Glance],
        "The last 24 hours, and the 24 before", heavy=False,
    ),
    Endpoint(
        "daily", "/analytics", "stats:read", s.Data[s.Daily],
        "Everything by local day", params=p.LOCAL,
        doc="Totals, starts, active and new users, hours, sessions, and with what people came.",
    ),
    Endpoint(
        "events", "/analytics/events", "stats:read", s.Data[dict[str, s.ByDay]],
        "Events by name and day", "Days without any are left out.", p.LOCAL,
    ),
    Endpoint(
        "eventsprops", "/analytics/eventsprops", "stats:read", s.Data[list[s.Attributes]],
        "Which attributes events have", "Row names: `init`, `error:NAME`, …", p.LOCAL,
    ),
    Endpoint(
        "one_event", "/analytics/events/:event", "stats:read", s.Data[dict[str, s.ByDay]],
        "One event by day", "", p.LOCAL,
    ),
    Endpoint(
        "values", "/analytics/events/:event/:attr", "stats:read", s.Data[list[s.ValueCount]],
        "The values of one attribute", "At most 10,000, the most frequent.",
        (*p.LOCAL, p.LIMIT),
    ),
    Endpoint(
        "errors", "/analytics/errors", "stats:read", s.Data[dict[str, s.ByDay]],
        "Errors by name and day", "", p.LOCAL,
    ),
    Endpoint(
        "users", "/users", "users:read", s.Listing[s.UserRow],
        "Everybody, most recently seen first", "All of them if no limit is named.", p.PART,
        group="Users",
    ),
    Endpoint(
        "user", "/users/:userId", "users:read", s.UserDetails,
        "One person and their sessions", "By userId, `_id` or anonId.", missing=True, group="Users",
    ),
    Endpoint(
        "session", "/users/:userId/session/:sessionId", "users:read", s.Data[list[s.EventRow]],
        "The events of one session", "At most 10,000.", (p.DEVICE,), missing=True, group="Users",
    ),
    Endpoint(
        "erase", "/users/:userId", "users:delete", None,
        "Delete a person, everywhere",
        "204; with a receipt: 200. What they send of the past later is not stored.",
        (p.RECEIPT,), "DELETE", missing=True, group="Users",
    ),
    Endpoint(
        "live_events", "/live/events", "users:read", s.Data[list[s.EventRow]],
        "The newest 100 events of the last half hour", heavy=False, group="Live",
    ),
    Endpoint(
        "live_users", "/live/users", "users:read", s.Data[list[s.LiveUser]],
        "Who is here now", heavy=False, group="Live",
    ),
    Endpoint(
        "live_count", "/live/users/count", "stats:read", s.Data[int],
        "How many devices are here now", heavy=False, group="Live",
    ),
    Endpoint(
        "export", "/users/:userId/export", "users:read", s.Export,
        "All that is held about one person", "One JSON file.", missing=True,
        group="Beyond the seeds",
    ),
    Endpoint(
        "companies", "/companies", "users:read", s.Listing[s.Company],
        "Companies, most recently seen first", "All of them if no limit is named.", p.PART,
        group="Beyond the seeds",
    ),
    Endpoint(
        "company", "/companies/:companyId", "users:read", s.Data[s.CompanyRecord],
        "One company", missing=True, group="Beyond the seeds",
    ),
    Endpoint(
        "company_events", "/companies/:companyId/events", "users:read",
        s.Data[list[s.EventRow]], "A company's events, newest first", "100 if no limit is named.",
        p.PART, missing=True, group="Beyond the seeds",
    ),
    Endpoint(
        "feedback", "/feedback", "users:read", s.Listing[s.FeedbackRow],
        "What people said, newest first", "100 if no limit is named.", (*p.LATELY, *p.PART),
        group="Beyond the seeds",
    ),
    Endpoint(
        "feedback_average", "/feedback/average", "stats:read", s.Data[list[s.FeatureScore]],
        "The mean score of each feature", "", p.LATELY, group="Beyond the seeds",
    ),
    Endpoint(
        "feedback_days", "/feedback/daily", "stats:read", s.Data[dict[str, s.DayScore]],
        "Feedback by day", "", p.LOCAL, group="Beyond the seeds",
    ),
    Endpoint(
        "retention", "/retention", "stats:read", s.Data[list[s.Cohort]],
        "Weekly cohorts: who came back",
        "A cohort is who was first seen in the interval and in that week.", p.LOCAL,
        group="Beyond the seeds",
    ),
    Endpoint(
        "funnel", "/funnel", "stats:read", s.Data[list[s.FunnelStep]],
        "How many persons got how far", "", (*p.INTERVAL, p.STEPS, p.WINDOW),
        group="Beyond the seeds",
    ),
    Endpoint(
        "error_groups", "/errors", "stats:read", s.Listing[s.ErrorGroup],
        "Errors grouped by their stack", "100 if no limit is named.", (*p.LATELY, *p.PART),
        group="Beyond the seeds",
    ),
    Endpoint(
        "error_group", "/errors/:hash", "users:read", s.Data[s.ErrorRecord],
        "One group of errors: devices, versions, a sample", "", p.LATELY, missing=True,
        group="Beyond the seeds",
    ),
    Endpoint(
        "reckoning", "/reckoning", "stats:read", s.Data[s.Reckoning],
        "Events per hour of some devices, with a digest of their ids",
        "For whoever counted, too: equal count and digest, equal events.",
        (*p.INTERVAL, p.DEVICES), group="Beyond the seeds",
    ),
    Endpoint(
        "condition", "/status", "admin", s.Data[s.Condition],
        "How the collector is doing", heavy=False, group="Beyond the seeds",
    ),
)  # fmt: skip
