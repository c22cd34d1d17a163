"""A TCP proxy, run as a process of its own, that lets HTTP through and no WebSocket.

    python upgrade_killer.py TARGET_PORT CONTROL_FILE

Prints its port. What it does with an upgrade stands in the control file and may change at any
time: ``cut`` hangs up, ``swallow`` never answers, ``strip`` takes the upgrade out of the request,
``through`` lets it through. Connections that were let through before stay.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
from pathlib import Path

UPGRADE = re.compile(rb"(?im)^(?:upgrade|connection|sec-websocket-[a-z]+):[^\r\n]*\r\n")


def pipe(source: socket.socket, target: socket.socket, first: bytes = b"") -> None:
    """Copy until one side ends."""
    try:
        if first:
            target.sendall(first)
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for sock in (source, target):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client: socket.socket, target_port: int, control: Path) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(65536)
        if not more:
            client.close()
            return
        head += more
    if b"upgrade: websocket" in head.lower():
        match control.read_text().strip():
            case "cut":
                client.close()
                return
            case "swallow":
                while client.recv(65536):
                    pass
                return
            case "strip":
                head = UPGRADE.sub(b"", head)
            case _:
                pass
    far = socket.create_connection(("127.0.0.1", target_port))
    threading.Thread(target=pipe, args=(far, client), daemon=True).start()
    pipe(client, far, head)


def main() -> None:
    target_port, control = int(sys.argv[1]), Path(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            client, _ = listening.accept()
            threading.Thread(target=serve, args=(client, target_port, control), daemon=True).start()


if __name__ == "__main__":
    main()
