"""Every error of the house, as one tree.

    HomingError
    ├── Bug                our mistake; the thread dies with its traceback, exit 70
    └── Fault              the world's doing; expected, named, fit to show a person
        ├── SettingsFault  a file, variable or flag says something impossible; exit 78
        ├── SecretFault    the OS keyring is locked, absent, or refused us
        │   ├── NoKey      nobody gave an upstream its key, or what was given is none
        │   └── BadFile    the file that holds a secret is not there, or holds none
        ├── StorageFault   the disk is read-only, or not ours to write
        │   ├── DiskFull   no room; nothing was stored, deletions still work
        │   └── Damaged    what was read is not what was written
        ├── RequestFault   a local app, or a client of the collector, asked for what we refuse
        │   └── OverQuota  too much at once: not acknowledged, come back later
        ├── AgentGone      no agent answers on the local socket; exit 69
        ├── AgentRunning   another agent holds the lock; exit 75
        └── LinkFault      the far end, or the road to it
            ├── Unreachable  route, TLS or a hang-up: back off, try again
            │   ├── NoName      the resolver does not know the far end
            │   ├── Silent      nobody answers at all: a black hole, or a machine that is off
            │   ├── Blocked     the road is there, but no WebSocket gets through
            │   ├── ProxyFault  the proxy on the way cannot, or will not
            │   └── PacFault    the script that names the proxy cannot be had, or does not work
            ├── Unproven     the far end's certificate does not prove its name: wait ≥ 5 min
            ├── SignIn       the network wants a person to sign in first: ask gently
            ├── LoginWanted  the proxy wants a name and a password: park until there is one
            ├── NotListed    the settings do not name this host: never contacted
            ├── Throttled    the far end named a delay: wait at least that long
            └── Refused      the far end refuses app, key or event: park until a person acts

The type decides what happens next. Nothing in the program reads ``str(error)``.
"""

from __future__ import annotations


class HomingError(Exception):
    """Root of the tree."""


class Bug(HomingError):
    """We erred. Never caught but to be reported; the process exits with 70."""


class Fault(HomingError):
    """Something outside the program went wrong.

    Args:
        detail: What happened, with the offending value, for the log.
        advice: What the person at the keyboard can do, or an empty string.

    """

    code = "fault"  #: Stable identifier: on the wire, in `--json`, in docs/errors.md.

    def __init__(self, detail: str, *, advice: str = "") -> None:
        super().__init__(detail)
        self.advice = advice


class SettingsFault(Fault):
    code = "settings"


class SecretFault(Fault):
    code = "secret"


class NoKey(SecretFault):
    code = "secret.key"


class BadFile(SecretFault):
    code = "secret.file"


class StorageFault(Fault):
    code = "storage"


class DiskFull(StorageFault):
    code = "storage.full"


class Damaged(StorageFault):
    code = "storage.damaged"


class RequestFault(Fault):
    """A request that we refuse, with the field that is wrong.

    Args:
        detail: One sentence that names the field and shows the value, clipped.
        field: Path of the field, as in ``data[3].payload.user``; empty for the whole request.
        status: HTTP status that says the same.

    """

    code = "request"

    def __init__(
        self, detail: str, *, field: str = "", status: int = 400, advice: str = ""
    ) -> None:
        super().__init__(detail, advice=advice)
        self.field = field
        self.status = status


class OverQuota(RequestFault):
    """Too much at once. Not acknowledged, so that the sender keeps it (SECURITY, decision 8)."""

    code = "request.over_quota"

    def __init__(self, detail: str, *, retry_after_s: float, advice: str = "") -> None:
        super().__init__(detail, status=429, advice=advice)
        self.retry_after_s = retry_after_s


class AgentGone(Fault):
    code = "agent.gone"


class AgentRunning(Fault):
    code = "agent.running"


class LinkFault(Fault):
    code = "link"


class Unreachable(LinkFault):
    code = "link.unreachable"


class NoName(Unreachable):
    code = "link.unreachable.name"


class Silent(Unreachable):
    code = "link.unreachable.silent"


class Blocked(Unreachable):
    code = "link.unreachable.blocked"


class ProxyFault(Unreachable):
    code = "link.unreachable.proxy"


class PacFault(Unreachable):
    code = "link.unreachable.pac"


class Unproven(LinkFault):
    """The far end did not prove its name.

    Args:
        detail: What its certificate lacks.
        why: ``name``, ``authority``, ``time``, ``protocol``, or nothing if it is something else.

    """

    code = "link.unproven"

    def __init__(self, detail: str, *, why: str = "", advice: str = "") -> None:
        super().__init__(detail, advice=advice)
        self.why = why


class SignIn(LinkFault):
    code = "link.portal"


class LoginWanted(LinkFault):
    code = "link.proxy_login"


class NotListed(LinkFault):
    code = "link.not_listed"


class Throttled(LinkFault):
    code = "link.throttled"

    def __init__(self, detail: str, *, retry_after_s: float, advice: str = "") -> None:
        super().__init__(detail, advice=advice)
        self.retry_after_s = retry_after_s


class Refused(LinkFault):
    """The far end will not have us.

    Args:
        detail: What was refused, in the far end's words, clipped to 200 characters.
        status: HTTP status of the refusal, 0 if it came another way.

    """

    code = "link.refused"

    def __init__(self, detail: str, *, status: int = 0, advice: str = "") -> None:
        super().__init__(detail, advice=advice)
        self.status = status
