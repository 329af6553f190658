"""The vectors of the scripts, run by this client on a real server.

A server's clock cannot be set, so that all times of a case are shifted to a moment that is
just about to come, and a run at another millisecond is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from cases import batch_of, check_index_reply, check_reply, step_of
from pazzo import BatchError, FieldNameError, Manager, TooLargeError, index, wire
from pazzo import batch as b
from pazzo.batch import Batch
from pazzo.errors import CorruptError, LayoutError
from pazzo.index import Step
from pazzo.scripts import APPLY, INDEX
from records import pack_index, pack_meta, pack_record, u48
from servers import Server
from vectors import PROTOCOL, load, name

HANDLE = bytes(range(16))


@pytest.mark.parametrize("script", ["apply.lua", "index.lua"])
def test_the_scripts_are_the_published_ones(script: str) -> None:
    published = PROTOCOL / script
    ours = APPLY if script == "apply.lua" else INDEX
    assert ours.source == published.read_bytes()


def server_time(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def at_time(client: redis.Redis, now: int, run: Callable[[int], int]) -> int:
    """Runs at the server's time that is *now* shifted; run returns the time it ran at."""
    for _ in range(2000):
        shift = server_time(client) + 4 - now
        if run(shift) == now + shift:
            return shift
    raise AssertionError("the server never ran it at the wanted millisecond")


def wait_until(client: redis.Redis, moment: int) -> None:
    while server_time(client) < moment:
        time.sleep(0.0001)


@pytest.mark.parametrize("case", load("batch.json", "cases"), ids=name)
def test_batch(case: dict[str, Any], manager: Manager, server: Server) -> None:
    client = server.client()
    key = manager.store.config.prefix + "{" + HANDLE.hex() + "}"
    batch, access, limits = batch_of(case["batch"])
    got: list[wire.Reply] = []
    lies: dict[str, Any] = {}

    def run(shift: int) -> int:
        before, expires = pack_record(case["before"], shift)
        client.delete(key)
        if before:
            client.hset(key, mapping=before)  # type: ignore[arg-type]
            if expires > case["now"] + shift:
                client.pexpireat(key, expires)
        manager.store._offset = None  # has reads go through the script, too
        wait_until(client, case["now"] + shift)
        got[:] = [manager.run(manager.store.apply(HANDLE, batch, access, limits))]
        lies.update(hash=client.hgetall(key), expires=client.pexpiretime(key))
        return server_time(client)

    manager.run(manager.store.apply(bytes(16), Batch(()), b.AS_ADMIN, limits))  # loads the script
    shift = at_time(client, case["now"], run)
    check_reply(got[0], case["reply"], shift)
    after, expires = pack_record(case["after"], shift)
    if after or got[0].status == wire.OK:
        assert lies == {"hash": after, "expires": expires or -2}
    client.close()


def may_be_plain(case: dict[str, Any]) -> bool:
    batch, access, _ = batch_of(case["batch"])
    return batch.reads_only() and bool(batch.ops) and access.mode != b.ADMIN


@pytest.mark.parametrize(
    "case", [c for c in load("batch.json", "cases") if may_be_plain(c)], ids=name
)
def test_live_read(case: dict[str, Any], manager: Manager, server: Server) -> None:
    """A plain read, or the script after it, says the same as the script alone."""
    client = server.client()
    key = manager.store.config.prefix + "{" + HANDLE.hex() + "}"
    batch, access, limits = batch_of(case["batch"])
    manager.run(manager.store.apply(bytes(16), Batch(()), b.AS_ADMIN, limits))  # learns the time
    got: list[wire.Reply] = []

    def run(shift: int) -> int:
        before, expires = pack_record(case["before"], shift)
        client.delete(key)
        if before and expires > case["now"] + shift:
            client.hset(key, mapping=before)  # type: ignore[arg-type]
        wait_until(client, case["now"] + shift)
        got[:] = [manager.run(manager.store.apply(HANDLE, batch, access, limits))]
        return server_time(client)

    shift = at_time(client, case["now"], run)
    want = case["reply"]
    if got[0].status == wire.OK and not got[0].revision:
        want = want | {"revision": 0}  # HMGET does not tell it
    check_reply(got[0], want, shift)
    client.close()


@pytest.mark.parametrize("case", load("batch.json", "refused"), ids=name)
def test_refused(case: dict[str, Any], manager: Manager) -> None:
    errors = {"name": FieldNameError, "too large": TooLargeError, "batch": BatchError}
    with pytest.raises(errors[case["error"]]) as caught:
        batch, access, limits = batch_of(case["batch"])
        manager.run(manager.store.apply(HANDLE, batch, access, limits))
    assert type(caught.value) is errors[case["error"]]


@pytest.mark.parametrize("case", load("index.json", "cases"), ids=name)
def test_index(case: dict[str, Any], manager: Manager, server: Server) -> None:
    client = server.client()
    step = step_of(case["step"])
    key = f"{manager.store.config.prefix}u:{index.digest('ann').hex()}"
    got: list[index.IndexReply] = []
    after: dict[str, Any] = {}

    def run(shift: int) -> int:
        client.delete(key)
        if before := pack_index(case["before"], shift):
            client.hset(key, mapping=before)  # type: ignore[arg-type]
        wait_until(client, case["now"] + shift)
        got[:] = [manager.run(manager.store.apply_index("ann", step))]
        after.update(hash=client.hgetall(key))
        return server_time(client)

    manager.run(manager.store.apply_index("bob", Step(index.LIST)))  # loads the script
    shift = at_time(client, case["now"], run)
    check_index_reply(got[0], case["reply"], shift)
    assert after["hash"] == pack_index(case["after"], shift)
    client.close()


@pytest.mark.parametrize("case", load("record.json", "sessions"), ids=name)
def test_where_and_how_a_session_lies(case: dict[str, Any], make: Any, server: Server) -> None:
    manager = make(f"{server.url}?prefix=v{time.time_ns()}{case['prefix']}")
    key = manager.store.config.prefix + case["key"].removeprefix(case["prefix"])
    wanted = {bytes.fromhex(k): bytes.fromhex(v) for k, v in case["hash"].items()}
    assert pack_record(case["record"]) == (wanted, case["expires"])
    client = server.client()
    shift = server_time(client) - 1_800_000_300_000  # so that it is alive
    client.hset(key, mapping=pack_record(case["record"], shift)[0])  # type: ignore[arg-type]
    batch = Batch((b.get_all(), b.get_identity()))
    handle = bytes.fromhex(case["handle"])
    got = manager.run(manager.store.apply(handle, batch, b.AS_ADMIN, b.Limits()))
    record = case["record"]
    if "tombstone" in record:
        alive = record["tombstone"]["until"] > 1_800_000_300_000
        assert got.status == (wire.ENDED if alive else wire.ABSENT)
    else:
        assert {k: v.decode() for k, v in got.fields.items()} == record.get("fields", {})
        assert (got.user, got.device.decode()) == (record.get("user", ""), record.get("device", ""))
        assert got.live_meta().raw == pack_meta(record["meta"], shift)
        assert got.revision == record["revision"]
    client.delete(key)
    client.close()


@pytest.mark.parametrize("case", load("record.json", "index_keys"), ids=lambda c: c["user"])
def test_where_an_index_lies(case: dict[str, Any]) -> None:
    assert f"{case['prefix']}u:{index.digest(case['user']).hex()}" == case["key"]


@pytest.mark.parametrize("case", load("record.json", "unreadable"), ids=name)
def test_unreadable(case: dict[str, Any], manager: Manager, server: Server) -> None:
    errors = {"layout": LayoutError, "corrupt": CorruptError}
    client = server.client()
    key = manager.store.config.prefix + "{" + HANDLE.hex() + "}"
    before = {b"\0m": bytes.fromhex(case["meta"]), b"\0r": u48(1) + bytes(4), b"a": b"1"}
    client.hset(key, mapping=before)  # type: ignore[arg-type]
    for batch in (Batch((b.get("a"),)), Batch((b.set_("a", b"2"),)), Batch((b.destroy(0, 1),))):
        with pytest.raises(errors[case["error"]]):
            manager.run(manager.store.apply(HANDLE, batch, b.AS_ADMIN, b.Limits()))
    assert client.hgetall(key) == before
    client.delete(key)
    client.close()
