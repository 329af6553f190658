"""Each method has a twin for asyncio, which does the same."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import pazzo
from pazzo import Manager, Session
from pazzo.async_session import AsyncMethods

RENAMED = {"aset": "__setitem__", "acontains": "__contains__", "aall": "items"}


def test_each_twin_has_its_method() -> None:
    for name in vars(AsyncMethods):
        if inspect.iscoroutinefunction(getattr(AsyncMethods, name)):
            assert hasattr(Session, RENAMED.get(name, name[1:])), name


def run(manager: Manager, work: Callable[[Session], Any]) -> Any:
    async def main() -> Any:
        return await work(manager.acquire())

    return asyncio.run(main())


def test_all_of_them(manager: Manager) -> None:
    async def work(s: Session) -> None:
        assert await s.aget("a", 5) == 5
        assert await s.ainfo() is None
        await s.aset("a", 1)
        await s.aupdate({"b": [2], "c": 3})
        assert await s.acontains("a")
        assert sorted(await s.akeys()) == ["a", "b", "c"]
        assert await s.aall() == {"a": 1, "b": [2], "c": 3}
        assert await s.atext("b") == "[2]"
        assert await s.asetdefault("a", 9) == 1
        assert await s.aset_if_absent("d", 4) == (4, True)
        assert await s.apop("d") == 4
        assert await s.apop("d", None) is None
        with pytest.raises(KeyError):
            await s.apop("d")
        assert await s.adelete("c")
        assert await s.aadd("n", 2) == 2
        await s.aappend("b", 3)
        assert await s.adrain("b") == [2, 3]
        assert await s.aupdate_field("u", lambda v: v + 1, 0) == 1
        async with s.atomic() as tx:
            tx["a"] += tx["u"]
        assert await s.aatomically(lambda tx: tx["a"]) == 2
        (await s.asetdefault("cart", [])).append(1)
        await s.asave()
        assert await s.atext("cart") == "[1]"
        await s.aset_expiry(60, 120)
        await s.aset_device("::1")
        old = s.manager.acquire(s.token)
        await s.arenew()
        with pytest.raises(pazzo.SupersededError):
            await old.aset("a", 1)
        await s.aauthenticate("ann")
        info = await s.ainfo()
        assert info is not None
        assert (info.user, info.device.ip) == ("ann", "::1")
        assert [i.handle for i in await s.manager.asessions("ann")] == [info.handle]
        await s.aclear()
        assert await s.akeys() == []
        decision = await s.afinish()
        assert decision.offer is not None
        assert await s.adestroy()
        assert await s.manager.asessions("ann") == []

    run(manager, work)


def test_users(make: Callable[..., Manager]) -> None:
    manager = make(best_effort_users=True)

    async def work(s: Session) -> None:
        await s.aauthenticate("ann")
        assert await manager.arevoke(s.handle or "")
        other = manager.acquire()
        await other.aauthenticate("ann")
        assert await manager.arevoke_all("ann") == 1
        await manager.ablock("ann")
        with pytest.raises(pazzo.BlockedError):
            await manager.acquire().aauthenticate("ann")
        await manager.aunblock("ann")
        await manager.acquire().aauthenticate("ann")

    run(manager, work)


def test_a_cancelled_call_leaves_no_reply_behind(manager: Manager) -> None:
    async def main() -> None:
        session = manager.acquire()
        await session.aset("a", "x" * 1000)
        for delay in range(30):
            task = asyncio.create_task(session.aget("a"))
            await asyncio.sleep(delay / 50_000)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await session.aadd("n") == delay + 1
        await manager.aclose()
        assert await session.aget("n") == 30

    asyncio.run(main())


def test_one_manager_in_several_loops(manager: Manager) -> None:
    for n in range(3):
        assert run(manager, lambda s: s.aadd("n")) == 1, n
    assert manager.async_transport._pools == {}  # each loop has closed its own
