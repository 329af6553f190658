"""Storms: nothing is lost, whoever writes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import pazzo
from pazzo import Manager, Session
from servers import Server

COUNTERS = [f"c{i}" for i in range(8)]


def new_session(manager: Manager) -> Session:
    session = manager.acquire()
    session["made"] = True
    return session


def test_threads_on_one_session(make: Callable[..., Manager]) -> None:
    manager = make(max_connections=8)  # fewer than threads
    token = new_session(manager).token

    def work(n: int) -> None:
        for i in range(100):
            session = manager.acquire(token)
            session.add(COUNTERS[(n + i) % 8])
            session[f"own{n}"] = i
            session.append("log", [n, i])
            session.update_field("shared", lambda v: v + 1, missing=0)

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(work, n) for n in range(16)]:
            future.result()
    session = manager.acquire(token)
    assert sum(session[name] for name in COUNTERS) == 1600
    assert session["shared"] == 1600
    assert [session[f"own{n}"] for n in range(16)] == [99] * 16
    log = session["log"]
    assert sorted(map(tuple, log)) == [(n, i) for n in range(16) for i in range(100)]


def test_transactions_under_contention(manager: Manager) -> None:
    token = new_session(manager).token
    manager.acquire(token).update({"from": 160, "to": 0})

    def move(tx: pazzo.Transaction) -> None:
        tx["from"] -= 1
        tx["to"] += 1

    def work(_: int) -> None:
        for _ in range(20):
            manager.acquire(token).atomically(move)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert dict(manager.acquire(token).items()) == {"made": True, "from": 0, "to": 160}


def test_threads_in_one_request(manager: Manager) -> None:
    session = manager.acquire()

    def work(n: int) -> None:
        for _ in range(50):
            session.add("n")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert manager.acquire(session.token)["n"] == 400  # they have made one session


def test_tasks_on_one_session(manager: Manager) -> None:
    token = new_session(manager).token

    async def work(n: int) -> None:
        for i in range(20):
            session = manager.acquire(token)
            await session.aadd(COUNTERS[(n + i) % 8])
            await session.aupdate_field("shared", lambda v: v + 1, missing=0)

    async def storm() -> None:
        await asyncio.gather(*(work(n) for n in range(50)))

    asyncio.run(storm())
    session = manager.acquire(token)
    assert sum(session[name] for name in COUNTERS) == 1000
    assert session["shared"] == 1000


def test_tasks_in_one_request(manager: Manager) -> None:
    async def storm() -> str:
        session = manager.acquire()
        await asyncio.gather(*(session.aadd("n") for _ in range(100)))
        return session.token

    assert manager.acquire(asyncio.run(storm()))["n"] == 100


def test_threads_and_tasks_at_once(manager: Manager) -> None:
    token = new_session(manager).token

    def thread() -> None:
        for _ in range(200):
            manager.acquire(token).update_field("n", lambda v: v + 1, missing=0)

    async def task() -> None:
        for _ in range(200):
            await manager.acquire(token).aupdate_field("n", lambda v: v + 1, missing=0)

    running = threading.Thread(target=thread)
    running.start()
    asyncio.run(task())
    running.join()
    assert manager.acquire(token)["n"] == 400


def test_destroy_against_writers(manager: Manager, server: Server) -> None:
    for _ in range(20):
        session = new_session(manager)
        handle, token = session.handle, session.token
        gone = threading.Barrier(9)

        def write(token: str = token, gone: threading.Barrier = gone) -> None:
            mine = manager.acquire(token)
            mine.get("made")
            gone.wait()
            for _ in range(20):
                try:
                    mine.add("n")
                except pazzo.GoneError:
                    return

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        gone.wait()
        session.destroy()
        for thread in threads:
            thread.join()
        with server.client() as client:
            key = f"{manager.store.config.prefix}{{{handle}}}"
            assert list(client.hgetall(key)) == [b"\0m"]
            assert client.pttl(key) > 0


def test_a_fork_has_connections_of_its_own(manager: Manager) -> None:
    """As under gunicorn --preload: parent and children go on, side by side."""
    token = new_session(manager).token
    parent_sockets = manager.transport._pool(manager.store.config.endpoints[0])._idle
    assert parent_sockets
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for _ in range(100):
                    manager.acquire(token).add("n")
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for _ in range(100):
        manager.acquire(token).add("n")
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert manager.acquire(token)["n"] == 500


def test_a_fork_while_a_thread_holds_the_pool(manager: Manager) -> None:
    token = new_session(manager).token
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            manager.acquire(token).add("n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if manager.acquire(token).add("child") else 1)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert manager.acquire(token)["child"] == 10


@pytest.mark.parametrize("size", [1, 3])
def test_the_pool_is_bounded(make: Callable[..., Manager], server: Server, size: int) -> None:
    manager = make(max_connections=size)
    token = new_session(manager).token
    with server.client() as client:
        before = len(client.client_list())
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: manager.acquire(token).add("n"), range(200)))
        assert len(client.client_list()) - before <= size
    assert manager.acquire(token)["n"] == 200
