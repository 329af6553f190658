"""Reads the vectors of batches and index steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pazzo import batch as b
from pazzo import index, wire
from pazzo.batch import Access, Batch, Condition, Limits, Op
from pazzo.index import Step
from records import STATES, pack_meta

STATUSES = (
    "ok", "absent", "ended", "superseded", "conflict", "exists", "other user",
    "not an integer", "out of range", "not a list", "too large",
)  # fmt: skip
INDEX_STATUSES = ("ok", "blocked", "full", "unverified", "missing", "doomed")
MODES = ("admin", "open", "held")
STEPS = ("enlist", "confirm", "refresh", "unlist", "list", "block", "unblock")


def hexed(vector: dict[str, Any], member: str) -> bytes:
    return bytes.fromhex(vector.get(member, "00" * 16))


def op_of(v: dict[str, Any]) -> Op:
    field, text = v.get("name", ""), v.get("text", "").encode()
    expiry = v.get("idle", 0), v.get("absolute", 0), v.get("browser_close", False)
    ops: dict[str, Callable[[], Op]] = {
        "get": lambda: b.get(field),
        "get all": b.get_all,
        "set": lambda: b.set_(field, text),
        "set if absent": lambda: b.set_if_absent(field, text),
        "delete": lambda: b.delete(field),
        "pop": lambda: b.pop(field),
        "add": lambda: Op(b.ADD, field, v.get("add", "0").encode()),
        "append": lambda: b.append(field, text),
        "drain": lambda: b.drain(field),
        "clear": b.clear,
        "get identity": b.get_identity,
        "touch": b.touch,
        "rotate": lambda: b.rotate(v.get("from", 0), hexed(v, "secret"), v.get("grace", 0)),
        "renew": lambda: b.renew(hexed(v, "secret")),
        "authenticate": lambda: b.authenticate(
            v.get("user", ""), hexed(v, "secret"), v.get("absolute", 0)
        ),
        "set expiry": lambda: b.set_expiry(*expiry),
        "describe": lambda: b.describe(v.get("device", "").encode()),
        "create": lambda: b.create(hexed(v, "secret"), *expiry),
        "destroy": lambda: b.destroy(b.REASONS.index(v["reason"]), v.get("keep", 0)),
    }
    return ops[v["kind"]]()


def condition_of(v: dict[str, Any]) -> Condition:
    field, text = v.get("name", ""), v.get("text", "")
    return {
        "field is": lambda: b.field_is(field, text.encode()),
        "field absent": lambda: b.field_is(field, None),
        "revision is": lambda: b.revision_is(v.get("revision", 0)),
        "user is or none": lambda: b.user_is_or_none(text),
    }[v["kind"]]()


def batch_of(v: dict[str, Any]) -> tuple[Batch, Access, Limits]:
    ops = tuple(op_of(o) for o in v.get("operations", ()))
    conditions = tuple(condition_of(c) for c in v.get("conditions", ()))
    a = v["access"]
    access = Access(MODES.index(a["mode"]), a.get("generation", 0), hexed(a, "secret"))
    return Batch(ops, conditions), access, Limits(**v.get("limits", {}))


def step_of(v: dict[str, Any]) -> Step:
    return Step(
        STEPS.index(v["kind"]),
        hexed(v, "handle"),
        most=v.get("max", 0),
        evict=v.get("evict", False),
        verified=v.get("verified", False),
        lifetime=v.get("lifetime", 0),
        duration=v.get("duration", 0),
        handles=[bytes.fromhex(h) for h in v.get("handles", ())],
    )


def check_reply(got: wire.Reply, want: dict[str, Any], shift: int) -> None:
    assert STATUSES[got.status] == want["status"]
    assert got.at == want.get("at", 0)
    assert b.REASONS[got.reason] == want.get("reason", "logout")
    assert got.revision == want.get("revision", 0)
    if "meta" in want:
        assert got.live_meta().raw == pack_meta(want["meta"], shift)
    else:
        assert got.meta is None
    if got.status == wire.OK:
        values = [
            (v.get("found", False), v.get("text", "").encode()) for v in want.get("values", ())
        ]
        assert [tuple(value) for value in got.values] == values
    assert {k: v.decode() for k, v in got.fields.items()} == want.get("fields", {})
    identity = want.get("identity", {})
    assert got.user == identity.get("user", "")
    assert got.device.decode() == identity.get("device", "")
    if got.user:
        assert got.authenticated == identity["authenticated"] + shift


def check_index_reply(got: index.IndexReply, want: dict[str, Any], shift: int) -> None:
    assert INDEX_STATUSES[got.status] == want["status"]
    blocked = want.get("blocked_until", 0)
    assert got.blocked_until == (blocked + shift if blocked else 0)
    entries = [
        (bytes.fromhex(e["handle"]), STATES.index(e["state"]), e["added"] + shift,
         e["deadline"] + shift)
        for e in want["entries"]
    ]  # fmt: skip
    assert [tuple(entry) for entry in got.entries] == entries
