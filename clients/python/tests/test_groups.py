"""Redis Cluster, and a primary that Sentinel watches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
from redis.crc import key_slot

import pazzo
import pazzo.flow
import pazzo.store
from groups import Cluster, Watched, wait
from pazzo import Manager


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.close()


def test_sessions_over_a_cluster(cluster: Cluster, make: Callable[..., Manager]) -> None:
    manager = make(cluster.url)
    for n in range(20):
        session = manager.acquire()
        session["n"] = n
        assert session.add("n") == n + 1
        session.authenticate(f"user {n}")
        assert manager.acquire(session.token)["n"] == n + 1
        assert [info.handle for info in manager.sessions(f"user {n}")] == [session.handle]
    assert all(client.dbsize() for client in cluster.clients)

    async def main() -> int:
        other = manager.acquire()
        for _ in range(5):
            await other.aadd("n")
        return await other.aget("n")  # type: ignore[no-any-return]

    assert asyncio.run(main()) == 5
    with pytest.raises(pazzo.UnavailableError):
        make(cluster.url.replace("redis+cluster", "redis").split(",")[0] + "?timeout=200ms").run(
            _everywhere(manager)
        )


def _everywhere(manager: Manager) -> pazzo.flow.Flow[None]:
    """Writes into many slots, not all of which are one server's."""
    from pazzo import batch as b

    store = pazzo.store.Store(manager.store.config._replace(kind="single"))
    for n in range(16):
        ops = b.Batch((b.destroy(0, 1000),))
        yield from store.apply(bytes([n] * 16), ops, b.AS_ADMIN, b.Limits())


def test_a_slot_that_moves(cluster: Cluster, make: Callable[..., Manager]) -> None:
    """ASK, TRYAGAIN and MOVED are followed, and nothing is lost or done twice."""
    manager = make(cluster.url)
    session = manager.acquire()
    session["n"] = 0
    key = f"pazzo:{{{session.handle}}}"
    slot = key_slot(key.encode())
    source = 0 if cluster.clients[0].execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) else 1
    target = 1 - source
    command = cluster.clients[target].execute_command
    command("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id(source))
    command = cluster.clients[source].execute_command
    command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id(target))
    assert session.add("n") == 1
    command("MIGRATE", "127.0.0.1", cluster.nodes[target].port, key, 0, 1000)
    assert session.add("n") == 2  # ASK
    assert session["n"] == 2
    for client in reversed(cluster.clients):
        client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", cluster.id(target))
    assert session.add("n") == 3  # MOVED
    assert manager.acquire(session.token)["n"] == 3


def test_a_failover(watched: Watched, make: Callable[..., Manager]) -> None:
    manager = make(watched.url + "&timeout=3s")
    session = manager.acquire()
    session["n"] = 1
    with watched.nodes[1].client() as replica:
        wait(lambda: replica.dbsize() == 1)
    watched.fail_over()
    begin = time.monotonic()
    assert session.add("n") == 2  # the old primary refuses, and the new one is found
    assert session["n"] == 2
    assert time.monotonic() - begin < 3

    async def main() -> int:
        return await manager.acquire(session.token).aadd("n")

    assert asyncio.run(main()) == 3
    with watched.nodes[1].client() as primary:
        assert primary.exists(f"pazzo:{{{session.handle}}}")


def test_no_sentinel(make: Callable[..., Manager]) -> None:
    with pytest.raises(pazzo.UnavailableError):
        make("redis+sentinel://127.0.0.1:1/main").acquire().add("n")
