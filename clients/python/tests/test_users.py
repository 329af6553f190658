"""The sessions of a user: lists, caps, revocation, blocks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

import pazzo
from pazzo import Manager, Session
from pazzo import index as ix
from pazzo.index import Step
from pazzo.token import new_handle
from servers import Server


def login(manager: Manager, user: str = "ann") -> Session:
    session = manager.acquire()
    session.authenticate(user)
    return session


def handles(manager: Manager, user: str = "ann") -> set[str | None]:
    return {info.handle for info in manager.sessions(user)}


def test_listing(manager: Manager) -> None:
    one = login(manager)
    time.sleep(0.002)  # lists go by the time of the login
    two = login(manager)
    login(manager, "bob")
    two.set_device("10.0.0.1", "Browser/2")
    infos = manager.sessions("ann")
    assert [i.handle for i in infos] == [one.handle, two.handle]
    assert infos[1].device.user_agent == "Browser/2"
    assert infos[0].auth_time is not None
    assert one.user == "ann"


def test_revocation(manager: Manager) -> None:
    one, two, three = login(manager), login(manager), login(manager)
    assert manager.revoke(one.handle or "")
    assert not manager.revoke(one.handle or "")
    assert handles(manager) == {two.handle, three.handle}
    assert manager.revoke_all("ann", keep=[three.handle or ""]) == 1
    assert handles(manager) == {three.handle}
    for session in (one, two):
        with pytest.raises(pazzo.GoneError):
            manager.session(pazzo.Request((f"__Host-session={session.token}",), mode="cors")).add(
                "n"
            )
    assert three.add("n") == 1
    with pytest.raises(ValueError, match="hexadecimal"):
        manager.revoke("00")


def test_logout_unlists(manager: Manager) -> None:
    session = login(manager)
    session.destroy()
    assert handles(manager) == set()


def test_blocking(manager: Manager) -> None:
    session = login(manager)
    manager.block("ann", 60)
    with pytest.raises(pazzo.GoneError):
        manager.session(pazzo.Request((f"__Host-session={session.token}",), mode="cors")).add("n")
    with pytest.raises(pazzo.BlockedError):
        login(manager)
    login(manager, "bob")
    manager.unblock("ann")
    login(manager)


def test_the_cap_evicts_the_oldest(make: Callable[..., Manager]) -> None:
    manager = make(max_per_user=2)
    sessions = []
    for _ in range(4):
        sessions.append(login(manager))
        time.sleep(0.002)
    assert handles(manager) == {sessions[2].handle, sessions[3].handle}
    assert manager.acquire(sessions[0].token).user == ""


def test_the_cap_refuses(make: Callable[..., Manager]) -> None:
    manager = make(max_per_user=2, when_full="refuse")
    first, _ = login(manager), login(manager)
    with pytest.raises(pazzo.TooManySessionsError):
        login(manager)
    first.authenticate("ann")  # a second time is no second session
    first.destroy()
    login(manager)
    assert len(handles(manager)) == 2


def test_the_cap_holds_under_concurrency(make: Callable[..., Manager]) -> None:
    manager = make(max_per_user=3)

    def work() -> None:
        with contextlib.suppress(pazzo.GoneError):  # evicted while it was under way
            login(manager)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(handles(manager)) <= 3


def test_dead_entries_are_dropped(make: Callable[..., Manager], server: Server) -> None:
    manager = make(max_per_user=2, when_full="refuse")
    lost, kept = login(manager), login(manager)
    with server.client() as client:  # as after a failover
        client.delete(f"{manager.store.config.prefix}{{{lost.handle}}}")
    new = login(manager)
    assert handles(manager) == {kept.handle, new.handle}


def test_a_login_that_was_cut_short(manager: Manager) -> None:
    handle = new_handle()
    step = Step(ix.ENLIST, handle, most=10, lifetime=60_000)
    manager.run(manager.users.step("ann", step))
    assert handles(manager) == set()
    listed = manager.run(manager.users.step("ann", Step(ix.LIST)))
    assert [e.handle for e in listed.entries] == [handle]  # it may still be under way
    assert manager.revoke_all("ann") == 0
    listed = manager.run(manager.users.step("ann", Step(ix.LIST)))
    assert listed.entries == []


def test_the_doomed_are_finished_by_whoever_sees_them(manager: Manager) -> None:
    old = login(manager)
    step = Step(ix.ENLIST, new_handle(), most=1, evict=True, verified=True, lifetime=60_000)
    manager.run(manager.users.step("ann", step))  # and then it crashed
    assert old.add("n") == 1
    handles(manager)
    assert manager.acquire(old.token).user == ""


def test_a_login_revoked_under_way(manager: Manager) -> None:
    session = login(manager)
    manager.run(manager.users.step("ann", Step(ix.UNLIST, handles=[session.state.current.handle])))
    reply = manager.run(manager.users.step("ann", Step(ix.CONFIRM, session.state.current.handle)))
    assert reply.status == ix.MISSING


def test_touch_lists_again(manager: Manager, server: Server) -> None:
    session = login(manager)
    with server.client() as client:
        client.delete(f"{manager.store.config.prefix}u:{ix.digest('ann').hex()}")
        key = f"{manager.store.config.prefix}{{{session.handle}}}"
        meta = client.hget(key, "\0m")
        assert isinstance(meta, bytes)
        touched = int.from_bytes(meta[44:50], "big") - 600_000
        client.hset(key, "\0m", meta[:44] + touched.to_bytes(6, "big") + meta[50:])
        client.pexpireat(key, touched + 3_600_000)  # as every key has it
    assert handles(manager) == set()
    manager.acquire(session.token).get("a")
    assert handles(manager) == {session.handle}


def test_what_is_good_for_one_token_is_not_for_another(manager: Manager) -> None:
    session = manager.acquire()
    session["a"] = 1
    assert session["a"] == 1
    session.state.current = session.state.current._replace(generation=9)
    assert session.get("a") is None


def test_a_snapshot_is_of_one_session(make: Callable[..., Manager]) -> None:
    manager = make(reads="request")
    first = manager.acquire()
    first["a"] = 1
    session = manager.acquire(first.token)
    assert session["a"] == 1
    first.destroy()
    session["b"] = 1  # makes another
    assert session.get("a") is None
    assert session["b"] == 1


def test_a_long_request_goes_on_recording_activity(make: Callable[..., Manager]) -> None:
    """The reads between two touches look at nothing but the time; that they must."""
    manager = make(timeouts=pazzo.Timeouts(2, 60))  # a touch each 200 ms
    session = manager.acquire()
    session["a"] = 1
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert session["a"] == 1
        time.sleep(0.02)
    info = session.info()
    assert info is not None
    assert (info.touched - info.created).total_seconds() > 2


def test_a_store_that_may_evict(make: Callable[..., Manager], own_server: Server) -> None:
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    manager = make(own_server.url, max_per_user=3)
    for call in (
        lambda: manager.revoke_all("ann"),
        lambda: manager.block("ann"),
        lambda: login(manager),
    ):
        with pytest.raises(pazzo.MayEvictError):
            call()
    login(make(own_server.url))  # no cap, no promise
    assert make(own_server.url, best_effort_users=True).revoke_all("ann") == 1
