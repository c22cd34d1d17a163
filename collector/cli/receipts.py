"""`verify-receipt`: is this what the collector signed when it erased somebody?"""

from __future__ import annotations

import argparse
import hmac
from pathlib import Path

from collector.cli.parser import OK, PROG, Commands, answers_in_json, say
from tracking.errors import RequestFault


def register(commands: Commands) -> None:
    verify = commands.command(
        "verify-receipt",
        "checks the receipt of an erasure, and says what it states",
        f"{PROG} verify-receipt receipt.json",
        _verify,
    )
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.add_argument("--person", metavar="ID", help="also check that it is about this user")
    answers_in_json(verify)


def _verify(args: argparse.Namespace) -> int:
    from collector.receipts import MOST_BYTES, digest, verify

    try:
        with args.file.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as exc:
        raise RequestFault(f"{args.file} cannot be read: {exc.strerror}") from exc
    signed, stated = verify(raw)
    if args.person is not None:
        wanted = digest(str(stated.get("salt")), str(stated.get("appId")), args.person)
        if not hmac.compare_digest(str(stated.get("subject")).encode(), wanted.encode()):
            raise RequestFault("the receipt is about somebody else", field="subject")
    say({**stated, "publicKey": signed.public_key})
    return OK
