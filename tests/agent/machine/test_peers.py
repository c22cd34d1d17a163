"""Who is at the other end of the local socket, as each system tells it (threat row 13)."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from agent.adapters.local_socket import XUCRED_BYTES, peer_uid, uid_of_xucred
from tracking.errors import Fault


def xucred(uid: int, *, version: int = 0, groups: tuple[int, ...] = (20, 12)) -> bytes:
    """Pack what macOS answers: version, uid, group count, room for 16 groups, aligned to 4."""
    return struct.pack("=IIhxx16I", version, uid, len(groups), *groups, *[0] * (16 - len(groups)))


def test_13_the_answer_of_macos_is_read_as_it_packs_it() -> None:
    assert len(xucred(501)) == XUCRED_BYTES
    assert uid_of_xucred(xucred(501)) == 501
    assert uid_of_xucred(xucred(0)) == 0
    assert uid_of_xucred(xucred(4294967294)) == 4294967294  # "nobody" there is -2, unsigned


@pytest.mark.parametrize("raw", [b"", xucred(501)[:9], xucred(501, version=1)])
def test_13_an_answer_that_is_not_understood_lets_nobody_in(raw: bytes) -> None:
    with pytest.raises(Fault):
        uid_of_xucred(raw)


def test_the_peer_of_a_socket_pair_is_this_user() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()
