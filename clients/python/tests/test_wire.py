"""The bytes that go to the scripts, and what is read from their answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cases import batch_of, check_index_reply, check_reply, step_of
from pazzo import index, wire
from pazzo.scripts import APPLY, INDEX
from pazzo.wire import ReplyError
from vectors import PROTOCOL, load

WIRE = json.loads((PROTOCOL / "wire.json").read_text())
HANDLE = bytes.fromhex(WIRE["handle"])


def pairs(part: str, file: str) -> list[Any]:
    """The vectors of a part, each with its case in the other file."""
    both = list(zip(WIRE[part], load(file, "cases"), strict=True))
    assert all(vector["name"] == case["name"] for vector, case in both)
    return [pytest.param(vector, case, id=case["name"]) for vector, case in both]


def test_the_scripts() -> None:
    ours = {"apply.lua": APPLY.sha.decode(), "index.lua": INDEX.sha.decode()}
    assert {script["file"]: script["sha1"] for script in WIRE["scripts"]} == ours


@pytest.mark.parametrize(("vector", "case"), pairs("batches", "batch.json"))
def test_batch(vector: dict[str, Any], case: dict[str, Any]) -> None:
    batch, access, limits = batch_of(case["batch"])
    args = wire.encode(HANDLE, batch, access, limits)
    assert [arg.hex() for arg in args] == vector["args"]
    reply = wire.decode(bytes.fromhex(vector["answer"]), HANDLE, batch)
    assert reply.now == case["now"]
    check_reply(reply, case["reply"], 0)


@pytest.mark.parametrize(("vector", "case"), pairs("steps", "index.json"))
def test_step(vector: dict[str, Any], case: dict[str, Any]) -> None:
    args = index.encode(WIRE["user"], step_of(case["step"]))
    assert [arg.hex() for arg in args] == vector["args"]
    reply = index.decode(bytes.fromhex(vector["answer"]), WIRE["user"])
    assert reply.now == case["now"]
    check_index_reply(reply, case["reply"], 0)


@pytest.mark.parametrize("vector", WIRE["batches"][:6], ids=lambda v: v["name"])
def test_no_other_answer_is_taken(vector: dict[str, Any]) -> None:
    case = next(c for c in load("batch.json", "cases") if c["name"] == vector["name"])
    batch, _, _ = batch_of(case["batch"])
    answer = bytes.fromhex(vector["answer"])
    for wrong in (b"", answer[:-1], answer + b"x", b"x" + answer[1:], answer[:20], None, 1, []):
        with pytest.raises(ReplyError):
            wire.decode(wrong, HANDLE, batch)
    for wrong in (b"", b"x" * 40, answer[:28], None):
        with pytest.raises(ReplyError):
            index.decode(wrong, WIRE["user"])
