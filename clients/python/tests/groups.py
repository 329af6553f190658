"""Groups of real servers: a Cluster, and a primary that Sentinel watches."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

from servers import Server, free_port

SLOTS = 16384


def wait(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def is_up(client: redis.Redis) -> bool:
    return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")


class Cluster:
    """Primaries without replicas, each with its share of the slots."""

    def __init__(self, size: int = 2) -> None:
        buses = [free_port() for _ in range(size)]
        options = "--cluster-enabled", "yes", "--cluster-port"
        self.nodes = [Server(*options, str(bus)) for bus in buses]
        self.clients = [node.client() for node in self.nodes]
        try:
            self._join(buses)
        except BaseException:
            self.close()
            raise

    def _join(self, buses: list[int]) -> None:
        size = len(self.nodes)
        for i, client in enumerate(self.clients):
            first, after = i * SLOTS // size, (i + 1) * SLOTS // size
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, buses[0])
        wait(lambda: all(map(is_up, self.clients)))

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def id(self, i: int) -> str:
        return str(self.clients[i].execute_command("CLUSTER", "MYID").decode())

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for node in self.nodes:
            node.close()


class Watched:
    """A primary, a replica and one Sentinel."""

    def __init__(self) -> None:
        self.nodes = [Server()]
        self.nodes.append(Server("--replicaof", f"127.0.0.1 {self.nodes[0].port}"))
        self.sentinel: Sentinel | None = None
        try:
            with self.nodes[1].client() as replica:
                wait(lambda: replica.info("replication")["master_link_status"] == "up")
            self.sentinel = Sentinel(self.nodes[0].port)  # which asks for replicas every 10 s
            wait(lambda: len(self.sentinel.client.sentinel_slaves("main")) == 1)
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main?sentinel_password=watch"

    def fail_over(self) -> None:
        wait(self._begin_failover)
        new = self.nodes[1].port
        wait(lambda: self.sentinel.client.sentinel_masters()["main"]["port"] == new)
        with self.nodes[0].client() as old:
            wait(lambda: old.info("replication")["role"] == "slave")

    def _begin_failover(self) -> bool:
        try:
            return bool(self.sentinel.client.execute_command("SENTINEL", "FAILOVER", "main"))
        except redis.ResponseError:  # it does not know enough of the replica yet
            return False

    def close(self) -> None:
        if self.sentinel is not None:
            self.sentinel.close()
        for node in self.nodes:
            node.close()


class Sentinel(Server):
    def __init__(self, primary: int) -> None:
        self._primary = primary
        super().__init__(port=free_port())
        self.client = self._client()

    def start(self) -> None:
        file = Path(self._folder.name) / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._folder.name}\n"
            f"sentinel monitor main 127.0.0.1 {self._primary} 1\n"
            "sentinel failover-timeout main 2000\nrequirepass watch\n"
        )
        command = [self._command[0], str(file), "--sentinel"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait(self._answers)

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password="watch", decode_responses=True)

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def close(self) -> None:
        self.client.close()
        super().close()
