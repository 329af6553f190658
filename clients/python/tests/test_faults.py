"""A store that fails is an error, never an empty session, and no write is sent twice."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import pazzo
import pazzo.token
from pazzo import Manager, Session
from servers import Proxy, Server, free_port

Call = Callable[[Session], Any]
CALLS: list[Call] = [
    lambda s: s.get("a"),
    lambda s: list(s),
    lambda s: s.add("n"),
    lambda s: s.info(),
    lambda s: s.authenticate("ann"),
    lambda s: s.destroy(),
]


def test_no_server(make: Callable[..., Manager]) -> None:
    manager = make(f"redis://127.0.0.1:{free_port()}")
    token = manager.keys.seal(pazzo.token.Token(bytes(16), 1, bytes(16)))
    for call in CALLS:
        with pytest.raises(pazzo.UnavailableError):
            call(manager.acquire(token))

    async def main() -> None:
        for work in (manager.acquire(token).aget("a"), manager.acquire(token).aadd("n")):
            with pytest.raises(pazzo.UnavailableError):
                await work

    asyncio.run(main())


def test_a_server_that_goes_and_comes_back(
    make: Callable[..., Manager], own_server: Server
) -> None:
    manager = make(own_server.url)
    session = manager.acquire()
    session["a"] = 1
    own_server.stop()
    for call in (lambda: session["a"], lambda: session.add("n")):
        with pytest.raises(pazzo.UnavailableError):
            call()
    own_server.start()
    session = manager.acquire()
    assert session.add("n") == 1
    assert session["n"] == 1


def test_a_restart_between_two_calls_is_not_noticed(
    make: Callable[..., Manager], own_server: Server
) -> None:
    manager = make(own_server.url)
    assert manager.acquire().add("n") == 1
    own_server.stop()
    own_server.start()
    assert manager.acquire().add("n") == 1  # the dead connection was found out before


def test_script_flush(manager: Manager, server: Server) -> None:
    session = manager.acquire()
    with server.client() as client:
        for n in range(20):
            assert session.add("n") == n + 1
            client.script_flush()
            manager.sessions("ann")


@pytest.mark.parametrize("use", ["threads", "tasks"])
def test_a_write_whose_reply_is_lost_is_not_repeated(
    make: Callable[..., Manager], proxy: Proxy, use: str
) -> None:
    manager = make(proxy.url)
    session = manager.acquire()

    async def add() -> int:
        try:
            return await session.aadd("n")
        finally:
            await manager.async_transport.close()

    session.add("n")
    if use == "threads":
        proxy.cut_replies = 1
        with pytest.raises(pazzo.OutcomeUnknownError):
            session.add("n")
    else:
        asyncio.run(add())  # connects, and back
        # A new connection's handshake has two replies of its own.
        session.add("n", -1)
        proxy.requests.clear()

        async def lose() -> int:
            await session.aget("n")
            proxy.cut_replies = 1
            return await add()

        with pytest.raises(pazzo.OutcomeUnknownError):
            asyncio.run(lose())
    proxy.cut_replies = 0
    assert session["n"] == 2  # it was executed, once


def test_a_read_is_repeated_once(make: Callable[..., Manager], proxy: Proxy) -> None:
    manager = make(proxy.url)
    session = manager.acquire()
    session["a"] = 1
    assert session["a"] == 1
    proxy.cut_replies = 1
    assert session["a"] == 1


def test_a_slow_server_times_out(make: Callable[..., Manager], proxy: Proxy) -> None:
    manager = make(proxy.url + "?timeout=200ms")
    session = manager.acquire()
    session["a"] = 1
    proxy.hold.set()
    begin = time.monotonic()
    with pytest.raises(pazzo.OutcomeUnknownError, match=r"no answer within 0\.2 s"):
        session.add("n")
    with pytest.raises(pazzo.UnavailableError, match=r"no answer within 0\.2 s"):
        session["a"]
    assert time.monotonic() - begin < 3
    proxy.hold.clear()
    assert session["a"] == 1


def test_all_connections_in_use(make: Callable[..., Manager], proxy: Proxy) -> None:
    manager = make(proxy.url + "?timeout=300ms", max_connections=1)
    session = manager.acquire()
    session["a"] = 1
    errors: list[BaseException] = []

    def read() -> None:
        try:
            session.fields.state.manager.acquire(session.token)["a"]
        except pazzo.PazzoError as error:
            errors.append(error)

    proxy.hold.set()
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.hold.clear()
    assert [type(e) for e in errors] == [pazzo.UnavailableError] * 3
    assert session["a"] == 1


def test_an_answer_to_somebody_else_is_refused(make: Callable[..., Manager], proxy: Proxy) -> None:
    manager = make(proxy.url)
    one, two = manager.acquire(), manager.acquire()
    one["a"], two["a"] = "one", "two"
    assert one["a"] == "one"
    mine, other = one.state.current.handle, two.state.current.handle
    proxy.change = lambda chunk: chunk.replace(mine, other)
    with pytest.raises(pazzo.OutcomeUnknownError):
        one.add("n")
    secret, wrong = one.state.current.secret, two.state.current.secret
    proxy.change = lambda chunk: chunk.replace(secret, wrong).replace(mine, other)
    with pytest.raises(pazzo.UnavailableError):
        one["a"]
    proxy.change = bytes
    assert (one["a"], two["a"]) == ("one", "two")


@pytest.mark.parametrize("rubbish", [b"*1\r\n$1\r\nx\r\n", b"+OK\r\n", b":1\r\n", b"$3\r\nabc\r\n"])
def test_rubbish(make: Callable[..., Manager], proxy: Proxy, rubbish: bytes) -> None:
    manager = make(proxy.url)
    session = manager.acquire()
    session["a"] = 1
    assert session["a"] == 1
    proxy.change = lambda chunk: rubbish
    with pytest.raises(pazzo.OutcomeUnknownError):
        session["a"] = 2
    with pytest.raises(pazzo.UnavailableError):
        session["a"]
    proxy.change = bytes
    assert session["a"] == 2


def test_a_full_server(make: Callable[..., Manager], own_server: Server) -> None:
    manager = make(own_server.url)
    session = manager.acquire()
    session["a"] = 1
    with own_server.client() as client:
        client.config_set("maxmemory", "1mb")
    with pytest.raises(pazzo.FullError):
        session["b"] = "x" * 1000
    assert session["a"] == 1
    assert "b" not in session
    session.destroy()


def test_a_replica_is_not_taken_for_the_primary(
    make: Callable[..., Manager], own_server: Server
) -> None:
    manager = make(own_server.url)
    session = manager.acquire()
    session["a"] = 1
    assert session["a"] == 1
    with own_server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
        time.sleep(1.1)  # so long a read may take it for the primary
        for call in (lambda: session["a"], lambda: session.add("n")):
            with pytest.raises(pazzo.UnavailableError):
                call()
        client.replicaof("NO", "ONE")
    assert session["a"] == 1


def test_a_key_of_another_kind(manager: Manager, server: Server) -> None:
    session = manager.acquire()
    session["a"] = 1
    with server.client() as client:
        key = f"{manager.store.config.prefix}{{{session.handle}}}"
        client.delete(key)
        client.set(key, "something else")
        for call in (lambda: session["a"], lambda: session.add("n")):
            with pytest.raises(pazzo.CorruptError):
                call()
        client.delete(key)


def test_passwords(make: Callable[..., Manager], own_server: Server) -> None:
    with own_server.client() as client:
        client.acl_setuser(
            "app", enabled=True, passwords=["+pass"], keys=["p:*"], categories=["+@all"]
        )
    place = f"127.0.0.1:{own_server.port}/0"
    good = make(f"redis://app:pass@{place}?prefix=p:")
    assert good.acquire().add("n") == 1
    for url in (f"redis://app:wrong@{place}?prefix=p:", f"redis://app:pass@{place}?prefix=q:"):
        with pytest.raises(pazzo.UnavailableError) as caught:
            make(url).acquire().add("n")
        assert "pass@" not in str(caught.value)


def test_a_socket(make: Callable[..., Manager], server: Server) -> None:
    manager = make(f"unix://{server.socket}?prefix=s:&db=3")
    session = manager.acquire()
    assert session.add("n") == 1

    async def main() -> int:
        return await manager.acquire(session.token).aadd("n")

    assert asyncio.run(main()) == 2
    with server.client(db=3) as client:
        assert client.exists(f"s:{{{session.handle}}}")


def test_errors_quote_no_arguments(make: Callable[..., Manager]) -> None:
    server = Server("--rename-command", "EVALSHA", "")
    value = "".join(("TOP", "SECRET"))  # so that no traceback shows it as source
    try:
        manager = make(f"{server.url}?prefix=p:")
        token = manager.keys.seal(pazzo.token.Token(bytes(16), 1, bytes(16)))

        async def main() -> None:
            await manager.acquire(token).aset("a", value)

        for write in (lambda: manager.acquire(token).update(a=value), lambda: asyncio.run(main())):
            with pytest.raises(pazzo.UnavailableError, match="unknown command") as caught:
                write()
            assert value not in "".join(traceback.format_exception(caught.value))
    finally:
        server.close()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_kernel_bounds_the_waits(
    make: Callable[..., Manager], own_server: Server, kind: str
) -> None:
    manager = make(own_server.url if kind == "tcp" else f"unix://{own_server.socket}")
    timeout = None if sys.platform in ("linux", "darwin") else manager.store.config.timeout
    for restarted in (False, True):
        assert manager.acquire().add("n") == 1
        (pool,) = manager.transport._pools.values()
        assert [c._sock.gettimeout() for c, _ in pool._idle] == [timeout]
        if not restarted:
            own_server.stop()
            own_server.start()
