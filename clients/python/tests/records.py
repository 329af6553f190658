"""Packs the records of the vectors as they lie in Redis, with all times shifted."""

from __future__ import annotations

from typing import Any

from pazzo.batch import REASONS

STATES = ("pending", "active", "doomed")
Hash = dict[bytes, bytes]


def u48(number: int) -> bytes:
    return number.to_bytes(6, "big")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def pack_meta(meta: dict[str, Any], shift: int = 0) -> bytes:
    flags = ("browser_close", "custom_expiry", "unpresented", "has_previous", "has_user")
    times = [meta["created"] + shift, meta["deadline"] + shift, meta["idle"]]
    times += [meta[name] + shift for name in ("touched", "floor_time", "renewed")]
    return (
        b"\1"
        + bytes([sum(bool(meta.get(flag)) << i for i, flag in enumerate(flags))])
        + u32(meta["generation"])
        + u32(meta["floor"])
        + bytes.fromhex(meta["secret"])
        + b"".join(u48(t) for t in times)
    )


def pack_record(record: dict[str, Any] | None, shift: int = 0) -> tuple[Hash, int]:
    """Returns the hash, and when its key expires."""
    if record is None:
        return {}, 0
    if "tombstone" in record:
        stone = record["tombstone"]
        ended, until = stone["ended"] + shift, stone["until"] + shift
        reason = REASONS.index(stone["reason"])
        return {b"\0m": bytes([1, 32, reason]) + u48(ended) + u48(until)}, until
    meta, fields = record["meta"], record.get("fields", {})
    packed = {name.encode(): text.encode() for name, text in fields.items()}
    size = sum(len(name) + len(text) for name, text in packed.items())
    packed[b"\0m"] = pack_meta(meta, shift)
    packed[b"\0r"] = u48(record["revision"]) + u32(size)
    if "previous" in record:
        p = record["previous"]
        presented = p["presented"] + shift if p["presented"] else 0
        packed[b"\0p"] = bytes.fromhex(p["secret"]) + u48(presented) + u48(p["grace"])
    if "user" in record:
        packed[b"\0u"] = u48(record["authenticated"] + shift) + record["user"].encode()
    if "device" in record:
        packed[b"\0d"] = record["device"].encode()
    return packed, min(meta["touched"] + meta["idle"], meta["deadline"]) + shift


def pack_index(index: dict[str, Any], shift: int = 0) -> Hash:
    packed = {
        bytes.fromhex(e["handle"]): bytes([STATES.index(e["state"])])
        + u48(e["added"] + shift)
        + u48(e["deadline"] + shift)
        for e in index.get("entries", ())
    }
    if index.get("blocked_until"):
        packed[b"\0b"] = u48(index["blocked_until"] + shift)
    return packed
