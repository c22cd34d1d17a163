"""Who is at the other end of the local socket, as each system tells it (threat row 13)."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path

import pytest

from agent.adapters.local.asking import XUCRED_BYTES, peer_uid, uid_of_xucred
from agent.adapters.local.callers import Caller, who
from agent.adapters.machine.facts import program_of
from tracking.errors import Fault
from tracking.peers import peer_of


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


class MacSocket:
    """A socket of macOS, as far as it is asked who is there."""

    family = socket.AF_UNIX

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option, size) == (0, 2, 4)  # SOL_LOCAL, LOCAL_PEERPID, pid_t
        return struct.pack("i", 4711)


def test_13_macos_names_the_process_by_an_option_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = asyncio.Transport({"socket": MacSocket()})
    monkeypatch.delattr(socket, "SO_PEERCRED")
    monkeypatch.setattr("sys.platform", "darwin")
    assert peer_of(transport) == "pid:4711"
    monkeypatch.setattr("sys.platform", "freebsd14")
    assert peer_of(transport) == ""


def test_the_program_of_a_process_is_named_and_of_one_that_is_none_is_not() -> None:
    me = str(Path("/proc/self/exe").readlink())
    assert who(f"pid:{os.getpid()}") == Caller(os.getpid(), me)
    assert who("pid:0") == who("person") == who("127.0.0.1") == who("pid:x") == Caller()
    assert who(f"pid:{2**22 + 1}").executable == ""
    assert program_of(os.getpid()) == me
    assert program_of(2**22 + 1) == ""
