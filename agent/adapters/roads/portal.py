"""Asking, after a failure, whether the network wants a sign-in first (FIELD.md R33).

Only the far end's own host is asked, by plain HTTP on port 80, with nothing of ours in the
question; never a vendor's address. At most one question per host and five seconds
(``agent.adapters.roads.atlas``), never for this machine, and not at all with ``network.portal_check
= "off"``. What the answer means is ``agent.rules.portal``'s to say.
"""

from __future__ import annotations

import time

from agent.adapters.roads.atlas import Atlas
from agent.adapters.roads.connecting import Resolve, connect
from agent.adapters.roads.patience import Patience
from agent.adapters.roads.plain_get import get_page
from agent.rules.endpoints import Address, is_loopback
from agent.rules.portal import Answered, portal_sign, worth_asking
from tracking.errors import LinkFault, SignIn, Unreachable

ASK_S = 3.0
LEFT_S = 0.5  #: With less of the dial's patience left nobody is asked.
PORT = 80
MOST_BYTES = 16 * 1024


def explained(
    address: Address, fault: LinkFault, patience: Patience, atlas: Atlas, resolve: Resolve
) -> LinkFault:
    """Return ``fault``, or :class:`SignIn` if a portal shows itself.

    Raises:
        Abandoned: Nobody wants to know any more.

    """
    if not atlas.portal_check or not address.secure or is_loopback(address.host):
        return fault
    if not worth_asking(fault) or patience.until - time.monotonic() < LEFT_S:
        return fault
    sign = atlas.portal(address.host, lambda: _ask(address, fault, patience, resolve))
    if not sign:
        return fault
    return SignIn(
        f"the network wants a sign-in: {sign}",
        advice="Sign in to the network: open any page in a browser.",
    )


def _ask(address: Address, fault: LinkFault, patience: Patience, resolve: Resolve) -> str:
    left_s = patience.until - time.monotonic()
    mine = Patience(min(ASK_S, left_s), patience.wake, patience.given_up, patience.note)
    host = f"[{address.host}]" if ":" in address.host else address.host
    try:
        sock = connect(address.host, PORT, mine, resolve)
        page = get_page(sock, host, "/", mine, kind="portal", most_bytes=MOST_BYTES)
    except Unreachable:
        return ""
    return portal_sign(address.host, fault, Answered(page.status, page.location, page.body))
