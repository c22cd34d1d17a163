"""Two shards of two replicas and the ZooKeeper between them: real, on loopback, for `make soak`.

shard 01   01a ◄──► 01b        every replica of a shard has the same rows
shard 02   02a ◄──► 02b        a row's shard is decided by its device
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

from servers import ClickHouse, Daemon, free_ports, until

NAME = "homing"  #: Of the cluster, in every server's configuration.
JARS = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "netty-all", "snappy-java")
MORE_JARS = ("metrics-core", "commons-cli", "commons-io")
ZOO_CFG = """tickTime=500
dataDir={home}/data
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
maxClientCnxns=200
4lw.commands.whitelist=srvr
"""


class ZooKeeper(Daemon):
    """One ZooKeeper."""

    def __init__(self, home: Path) -> None:
        (self.port,) = free_ports(1)
        (home / "zoo.cfg").write_text(ZOO_CFG.format(home=home, port=self.port))
        jars = [f"/usr/share/java/{name}.jar" for name in (*JARS, *MORE_JARS)]
        assert Path(jars[0]).exists(), "`sh packaging/bootstrap.sh soak` installs ZooKeeper"
        main = "org.apache.zookeeper.server.ZooKeeperServerMain"
        self.launch(["java", "-Xmx128m", "-cp", ":".join(jars), main, f"{home}/zoo.cfg"], home)
        log = home / "output.log"
        until(lambda: self.serves or not self.alive, 30, f"ZooKeeper is silent: {log.read_text()}")
        assert self.alive, log.read_text()[-2000:]

    @property
    def serves(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as sock:
                sock.sendall(b"srvr")
                return b"Mode: standalone" in sock.makefile("rb").read()
        except OSError:
            return False


class Cluster:
    """Started when made; ``nodes["01a"]`` is replica *a* of shard 01."""

    def __init__(self, home: Path) -> None:
        self.password = secrets.token_hex(8)
        ports = {f"{shard}{replica}": free_ports(3) for shard in ("01", "02") for replica in "ab"}
        self.nodes: dict[str, ClickHouse] = {}
        with contextlib.ExitStack() as ends:
            (home / "zookeeper").mkdir()
            self.zookeeper = ZooKeeper(home / "zookeeper")
            ends.callback(self.zookeeper.stop)
            for name, some in ports.items():
                (home / name).mkdir()
                node = ClickHouse(
                    home / name,
                    ports=some,
                    more=self._xml(ports),
                    shard=name[:2],
                    replica=name[2],
                    password=self.password,
                )
                ends.callback(node.stop)
                self.nodes[name] = node
            self._ends = ends.pop_all()

    def _xml(self, ports: dict[str, list[int]]) -> str:
        shards = ""
        for shard in ("01", "02"):
            replicas = "".join(
                f"<replica><host>127.0.0.1</host><port>{some[0]}</port>"
                f"<user>default</user><password>{self.password}</password></replica>"
                for name, some in ports.items()
                if name.startswith(shard)
            )
            whole = "<internal_replication>true</internal_replication>"
            shards += f"<shard>{whole}{replicas}</shard>"
        zookeeper = f"<node><host>127.0.0.1</host><port>{self.zookeeper.port}</port></node>"
        return (
            f"<remote_servers><{NAME}>{shards}</{NAME}></remote_servers>"
            f"<zookeeper>{zookeeper}</zookeeper>"
        )

    def stop(self) -> None:
        self._ends.close()
