"""Every request that the doors carry, and where it is on the local socket (docs/local-api.md).

A line that ``reads`` is ``GET /v1/NAME`` with the fields as query parameters; the others are
``POST /v1/NAME`` with them as a JSON object.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agent.door.apps import (
    AllowApp,
    DenyApp,
    ForgetAnswer,
    ListConsents,
    NotNow,
    PauseApp,
    ResumeApp,
    ShowConsent,
)
from agent.door.asking import Request
from agent.door.gateway import GiveToken, ListTokens, RevokeTokens
from agent.door.lint import ForgetShapes, ListShapes, ReadMarks
from agent.door.network import (
    ForgetProxyLogin,
    KeepProxyLogin,
    SendAnyway,
    ShowHosts,
    ShowNetwork,
    WalkNetwork,
)
from agent.door.reconciliation import ReadReconciliation, Reconcile
from agent.door.redaction import ListRules, ReloadRules, TryRule
from agent.door.upstream_keys import ForgetUpstreamKey, KeepUpstreamKey
from agent.door.upstreams import CompareUpstreams, DropUpstream, MoveUpstream
from agent.door.wire import ReadWire
from agent.door.your_data import (
    DeleteData,
    ReadDeletions,
    ReadHeld,
    ReadReceipts,
    RetryDeletion,
)


class Line(NamedTuple):
    """One request's place.

    Attributes:
        name: Its path below ``/v1/``.
        request: Its struct.
        reads: It changes nothing.

    """

    name: str
    request: type[Request[Any]]
    reads: bool = False


#: In the order of docs/local-api.md.
TABLE: tuple[Line, ...] = (
    Line("apps/list", ListConsents, reads=True),
    Line("apps/show", ShowConsent, reads=True),
    Line("apps/allow", AllowApp),
    Line("apps/deny", DenyApp),
    Line("apps/pause", PauseApp),
    Line("apps/resume", ResumeApp),
    Line("apps/forget", ForgetAnswer),
    Line("apps/not-now", NotNow),
    Line("gateway/tokens", ListTokens, reads=True),
    Line("gateway/give", GiveToken),
    Line("gateway/revoke", RevokeTokens),
    Line("upstreams/compare", CompareUpstreams, reads=True),
    Line("upstreams/drop", DropUpstream),
    Line("upstreams/move", MoveUpstream),
    Line("upstreams/key", KeepUpstreamKey),
    Line("upstreams/forget-key", ForgetUpstreamKey),
    Line("lint/shapes", ListShapes, reads=True),
    Line("lint/marks", ReadMarks, reads=True),
    Line("lint/forget", ForgetShapes),
    Line("redaction/rules", ListRules, reads=True),
    Line("redaction/reload", ReloadRules),
    Line("redaction/try", TryRule),
    Line("wire/read", ReadWire, reads=True),
    Line("data/held", ReadHeld, reads=True),
    Line("data/delete", DeleteData),
    Line("data/requests", ReadDeletions, reads=True),
    Line("data/receipts", ReadReceipts, reads=True),
    Line("data/retry", RetryDeletion),
    Line("reconciliation", ReadReconciliation, reads=True),
    Line("reconcile", Reconcile),
    Line("network", ShowNetwork, reads=True),
    Line("network/hosts", ShowHosts, reads=True),
    Line("network/walk", WalkNetwork, reads=True),
    Line("network/override", SendAnyway),
    Line("network/login", KeepProxyLogin),
    Line("network/logout", ForgetProxyLogin),
)

BY_REQUEST: Mapping[type[Request[Any]], Line] = MappingProxyType(
    {line.request: line for line in TABLE}
)
