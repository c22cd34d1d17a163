"""Whom we trust: what this computer trusts, and nothing else unless the settings add it.

``truststore`` asks the operating system's own trust store; its context class is used as it is,
never injected into ``ssl``. A context made here is handed to every library that speaks TLS, so
that no environment variable can add trust (``WEBSOCKET_CLIENT_CA_BUNDLE``) or write session
keys to a file (``SSLKEYLOGFILE``). There is no switch that turns verification off.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import truststore

from tracking.errors import SettingsFault


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that proves the far end's name, TLS 1.2 or newer.

    Args:
        ca_file: PEM certificates trusted in addition to the computer's own.

    Raises:
        SettingsFault: ``ca_file`` cannot be read or holds no certificate.

    """
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise SettingsFault(
                f"ca_file {str(ca_file)!r} gives no certificate: {exc}",
                advice="Name a readable PEM file with the authority's certificate.",
            ) from exc
    return context
