"""Where a ClickHouse is, as ``--engine`` says it; the password is said elsewhere.

Without the driver, so that a setting can be checked where it is not installed.
"""

from __future__ import annotations

import re
import stat
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tracking.errors import SettingsFault

PASSWORD = "HOMING_CLICKHOUSE_PASSWORD"  # noqa: S105 - the name of a variable
PASSWORD_FILE = "HOMING_CLICKHOUSE_PASSWORD_FILE"  # noqa: S105
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}\Z")
PORT, TLS_PORT = 9000, 9440


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a ClickHouse is, as ``--engine`` says it.

    Attributes:
        hosts: Servers of one cluster, in the order in which they are tried.
        cluster: Its name in the servers' configuration; empty for one server alone.
        quorum: How many replicas of a shard have a row before it is acknowledged; 0 does not ask.
        secure: TLS, and the certificate must prove the name.

    """

    hosts: tuple[tuple[str, int], ...]
    user: str
    database: str
    password: str = field(default="", repr=False)
    cluster: str = ""
    quorum: int = 0
    secure: bool = False

    @property
    def shown(self) -> str:
        """The address without anything secret."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"clickhouse://{self.user}@{hosts}/{self.database}"


def address(said: str, env: Mapping[str, str]) -> Address:
    """Read ``clickhouse://USER@HOST[:PORT][,HOST…]/DATABASE[?cluster=NAME&quorum=N&secure=1]``.

    Args:
        said: The setting.
        env: Has the password, or the name of a file that has it, if there is one.

    Raises:
        SettingsFault: It is none, or it has a password in it, where every user of the machine
            could read it.

    """
    try:
        scheme, _, rest = said.partition("://")
        where, _, query = rest.partition("?")
        login, _, path = where.rpartition("@")
        servers, _, database = path.partition("/")
        options = dict(urllib.parse.parse_qsl(query, strict_parsing=bool(query)))
        cluster, quorum = options.pop("cluster", ""), int(options.pop("quorum", "0"))
        secure = {"0": False, "1": True}[options.pop("secure", "0")]
        default = TLS_PORT if secure else PORT
        hosts = tuple(_host(one, default) for one in servers.split(","))
        if ":" in login:
            raise SettingsFault(
                "the address of the engine has a password in it",
                advice=f"Put it into {PASSWORD}, or into a file that {PASSWORD_FILE} names.",
            )
        good = scheme == "clickhouse" and not options and 0 <= quorum <= 9
        if not (good and NAME.match(database) and (not cluster or NAME.match(cluster))):
            raise ValueError(said)
    except (ValueError, KeyError) as exc:
        raise SettingsFault(
            f"an engine is duckdb or clickhouse://USER@HOST:PORT/DATABASE, got {said[:200]!r}"
        ) from exc
    return Address(
        hosts=hosts,
        user=urllib.parse.unquote(login) or "default",
        database=database,
        password=_password(env),
        cluster=cluster,
        quorum=quorum,
        secure=secure,
    )


def _host(said: str, default: int) -> tuple[str, int]:
    name, _, port = said.partition(":")
    if not HOST.match(name) or not 0 < int(port or default) < 65536:
        raise ValueError(said)
    return name, int(port or default)


def _password(env: Mapping[str, str]) -> str:
    named = env.get(PASSWORD_FILE, "")
    if not named:
        return env.get(PASSWORD, "")
    path = Path(named)
    try:
        if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            raise SettingsFault(f"{path} can be read by others", advice=f"chmod 600 {path}")
        return path.read_text("utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsFault(f"{PASSWORD_FILE} names {path}, which cannot be read") from exc
