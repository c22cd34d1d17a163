"""A small world for one agent: two network namespaces, and what stands between them.

    home   10.77.0.2   the agent
      │ veth
    world  10.77.0.1   resolver (port 53), proxies
           10.99.0.1   far.example: its TLS door and its port 80

The namespaces are held by two sleeping processes and vanish with them; nothing is left on the
machine. What serves in ``world`` are threads of the test that entered it (setns(2) is per thread).
Needs root, as CI has it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spaces import Namespace, Resolver, Server

from benchmarks.processes import HOMING, Agent, Collector, Process, ask_local, until

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "agent" / "link"))  # far_ends: authorities

HERE, THERE, FAR = "10.77.0.2", "10.77.0.1", "10.99.0.1"


class Far(Collector):
    """A collector that runs in ``world`` and listens on its loopback."""

    def __init__(self, folder: Path, world: Namespace) -> None:
        super().__init__(folder)
        self.world = world
        self.words = [*world.words, *self.words]

    def _answers(self) -> bool:
        self.check_alive()
        try:
            self.world.do(lambda: socket.create_connection(("127.0.0.1", self.port), 1)).close()
        except OSError:
            return False
        return True


class Home(Agent):
    """An agent that runs in ``home``, with the lab's resolver for its own."""

    def __init__(
        self, home: Path, settings: str, lab: Lab, env: Mapping[str, str] | None = None
    ) -> None:
        clean = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
        super().__init__(home, settings, {**clean, **(env or {})})
        conf = home / "resolv.conf"
        conf.write_text(f"nameserver {THERE}\noptions timeout:1 attempts:2\n")
        bind = f'mount --bind {conf} /etc/resolv.conf && exec "$@"'
        self.words = [*lab.home.words, "unshare", "-m", "sh", "-c", bind, "sh", *HOMING, "agent"]

    def link(self, app_id: str = "bench") -> Any:
        """Return how its way out is."""
        return next(one for one in self.status()["links"] if one["app_id"] == app_id)

    def named(self, code: str, seconds: float = 15.0) -> float:
        """Wait until the way out shows this code; return how long that took."""
        began = time.monotonic()
        until(
            lambda: self.link()["code"] == code and self.link()["state"] in ("waiting", "parked"),
            seconds,
            f"not {code}: {self.link()}",
        )
        return time.monotonic() - began

    def delivered(self, count: int = 1, seconds: float = 10.0) -> float:
        """Wait until so many events are delivered; return how long that took."""
        began = time.monotonic()
        until(
            lambda: self.ledger("bench")["delivered"] >= count,
            seconds,
            f"not delivered: {self.link()}",
        )
        return time.monotonic() - began

    def ask(self, name: str, **body: object) -> Any:
        """Have the door do something."""
        return ask_local(self.socket, f"/v1/{name}", body, 30.0)

    def look(self, name: str) -> Any:
        """Ask the door how something is."""
        return ask_local(self.socket, f"/v1/{name}", None, 30.0)

    def report(self, name: str = "event") -> None:
        """Report one event as an app would."""
        ask_local(self.socket, "/app/bench/track", {"data": [{"name": name}]})


class Lab:
    """The two namespaces and what stands in them."""

    def __init__(self, folder: Path, authority: Any) -> None:
        self.folder = folder
        self.authority = authority
        self.stack = contextlib.ExitStack()
        self.home, self.world = Namespace(), Namespace()
        self.stack.callback(self.home.close)
        self.stack.callback(self.world.close)
        pair = f"ip link add v0 netns {self.home.holder.pid} type veth peer name v1"
        subprocess.run([*pair.split(), "netns", str(self.world.holder.pid)], check=True, timeout=20)
        self.world.run(f"ip addr add {THERE}/24 dev v1; ip link set v1 up")
        self.world.run(f"ip addr add {FAR}/32 dev lo")
        self.connect()
        self.resolver = Resolver(self.world, THERE, {"far.example": FAR})
        self.stack.callback(self.resolver.close)
        self.good: ssl.SSLContext = authority.server(("far.example",))
        self.context = self.good
        self.agents: list[Home] = []
        self.far = Far(folder / "far", self.world)
        self.door: Callable[[socket.socket], None] = self.relay
        self.web: Callable[[socket.socket], None] = lambda sock: None
        self.open_door()
        self.http = self.serve(80, self._on_the_web)

    def connect(self) -> None:
        """Give home its address and its route."""
        self.home.run(
            f"ip addr replace {HERE}/24 dev v0; ip link set v0 up;"
            f" ip route replace default via {THERE}"
        )

    def connect_six(self) -> None:
        """Give home an IPv6 that leads to the router and no further."""
        on = "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip addr replace"
        self.world.run(f"{on} fd77::1/64 dev v1 nodad")
        self.home.run(f"{on} fd77::2/64 dev v0 nodad; ip route replace default via fd77::1")
        self.resolver.names6["far.example"] = "fd99::1"

    def disconnect(self) -> None:
        """Take home's address away."""
        self.home.run("ip addr flush dev v0; ip link set v0 down")

    def blackhole(self, *, on: bool) -> None:
        """Have the far end's packets swallowed by a router that says nothing."""
        self.world.run(f"ip addr {'del' if on else 'add'} {FAR}/32 dev lo")

    def serve(self, port: int, serve: Callable[[socket.socket], None], at: str = FAR) -> Server:
        server = Server(self.world, (at, port), serve)
        self.stack.callback(server.close)
        return server

    def open_door(self) -> None:
        """Listen on the far end's port."""
        self.tls = self.serve(443, self._at_the_door)

    def start_far(self) -> None:
        """Start the collector, which knows the app ``bench``."""
        self.far.add_app("bench")
        self.far.start()
        self.stack.callback(self.far.stop)

    def agent(self, settings: str = "", env: Mapping[str, str] | None = None) -> Home:
        """Make an agent whose app ``bench`` reports to wss://far.example; start it."""
        link = f'[link]\nca_file = "{self.authority.ca_file}"\nheartbeat_s = 5\n'
        app = '[[apps]]\nid = "bench"\n[[apps.upstreams]]\nkind = "nucleus"\n'
        app += 'endpoint = "wss://far.example"\n'
        agent = Home(self.folder / f"h{len(self.agents)}", link + settings + app, self, env)
        self.agents.append(agent)
        agent.start()
        return agent

    def reset(self) -> None:
        """End the agents, and let everything be as it was at first."""
        for agent in self.agents:
            agent.stop()
        self.sign_in()
        self.context = self.good
        self.disconnect()
        self.world.run(f"ip addr replace {FAR}/32 dev lo")
        self.connect()
        self.home.run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
        self.world.run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
        self.resolver.names6.clear()
        self.resolver.names.clear()
        self.resolver.names["far.example"] = FAR
        self.resolver.asked.clear()
        self.http.accepted = self.tls.accepted = 0

    def _at_the_door(self, sock: socket.socket) -> None:
        self.door(sock)  # whoever stands there now

    def _on_the_web(self, sock: socket.socket) -> None:
        self.web(sock)

    # --- doors --------------------------------------------------------------------------------

    def relay(self, sock: socket.socket) -> None:
        """Speak TLS, and hand everything to the collector."""
        with (
            self.context.wrap_socket(sock, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", self.far.port)) as onward,
        ):
            back = threading.Thread(target=_pump, args=(onward, secure), daemon=True)
            back.start()
            _pump(secure, onward)

    def without_sdk_path(self, sock: socket.socket) -> None:
        """Relay, but know nothing at ``/app/{appId}/track``."""
        with self.context.wrap_socket(sock, server_side=True) as secure:
            head = b""
            while b"\r\n\r\n" not in head:
                head += secure.recv(65536)
            if b" /app/" in head.split(b"\r\n")[0]:
                secure.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self.far.port)) as onward:
                onward.sendall(head)
                threading.Thread(target=_pump, args=(onward, secure), daemon=True).start()
                _pump(secure, onward)

    def portal(self, page: bytes) -> None:
        """Stand in the far end's place: a certificate of one's own, and a page on port 80."""
        own = self.authority.server(("portal.example",), self_signed=True)

        def intercept(sock: socket.socket) -> None:
            with own.wrap_socket(sock, server_side=True) as secure:
                secure.recv(4096)

        def show(sock: socket.socket) -> None:
            sock.recv(4096)
            sock.sendall(page)

        self.door, self.web = intercept, show

    def sign_in(self) -> None:
        """Let the traffic through."""
        self.door, self.web = self.relay, lambda sock: None

    def close(self) -> None:
        self.stack.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def tinyproxy(lab: Lab, login: str = "") -> Iterator[str]:
    """Run Debian's tinyproxy in ``world``; yield its address."""
    folder = lab.folder / "proxy"
    folder.mkdir(exist_ok=True)
    lines = [f"Listen {THERE}", "Port 3128", "ConnectPort 443", "MaxClients 20", "Timeout 60"]
    if login:
        lines.append("BasicAuth " + login.replace(":", " "))
    (folder / "tinyproxy.conf").write_text("\n".join(lines) + "\n")
    conf = folder / "resolv.conf"
    conf.write_text(f"nameserver {THERE}\n")
    bind = f'mount --bind {conf} /etc/resolv.conf && exec "$@"'
    words = [*lab.world.words, "unshare", "-m", "sh", "-c", bind, "sh"]
    process = Process(
        [*words, "tinyproxy", "-d", "-c", str(folder / "tinyproxy.conf")], {}, folder / "log"
    )
    process.spawn()

    def answers() -> bool:
        process.check_alive()
        try:
            lab.world.do(lambda: socket.create_connection((THERE, 3128), 1)).close()
        except OSError:
            return False
        return True

    until(answers, 10, "tinyproxy does not listen")
    yield f"http://{THERE}:3128"
    process.stop()
