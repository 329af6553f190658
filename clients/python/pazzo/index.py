"""Steps on the index of one user's sessions: the arguments of ``index.lua``."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from .errors import CorruptError
from .wire import LAYOUT, ReplyError

# Kinds of steps.
ENLIST: Final = 0
CONFIRM: Final = 1
REFRESH: Final = 2
UNLIST: Final = 3
LIST: Final = 4
BLOCK: Final = 5
UNBLOCK: Final = 6

# States of entries.
PENDING: Final = 0
ACTIVE: Final = 1
DOOMED: Final = 2

# Statuses.
OK: Final = 0
BLOCKED: Final = 1
FULL: Final = 2
UNVERIFIED: Final = 3
MISSING: Final = 4
IS_DOOMED: Final = 5
_CORRUPT: Final = 255

_STEP = struct.Struct(">B16sB16sIBB6s6s")
_HEAD: Final = 29
_ENTRY: Final = 29


class Step(NamedTuple):
    """A step. Durations are in milliseconds; what a kind does not use is 0."""

    kind: int
    handle: bytes = bytes(16)
    most: int = 0
    evict: bool = False
    verified: bool = False
    lifetime: int = 0
    duration: int = 0
    handles: Sequence[bytes] = ()


class Entry(NamedTuple):
    """A listed session. Times are ms since 1970 by the store's clock."""

    handle: bytes
    state: int
    added: int
    deadline: int


class IndexReply(NamedTuple):
    """What a step was answered. ``blocked_until`` is 0 if the user is not blocked."""

    status: int
    now: int
    blocked_until: int
    entries: list[Entry]


def digest(user: str) -> bytes:
    """The SHA-256 of a user, which names the index's key; its first half is the tag."""
    return hashlib.sha256(user.encode()).digest()


def encode(user: str, step: Step) -> list[bytes]:
    """Returns the arguments of ``index.lua``."""
    head = _STEP.pack(
        LAYOUT,
        digest(user)[:16],
        step.kind,
        step.handle,
        step.most,
        step.evict,
        step.verified,
        step.lifetime.to_bytes(6, "big"),
        step.duration.to_bytes(6, "big"),
    )
    return [head, *step.handles]


def decode(answer: Any, user: str) -> IndexReply:
    """Reads the answer of ``index.lua``. ReplyError is raised unless it is to this call."""
    if not isinstance(answer, bytes) or len(answer) < _HEAD or answer[:16] != digest(user)[:16]:
        raise ReplyError("the answer names another index")
    if answer[16] == _CORRUPT:
        raise CorruptError("the store holds an index that is none")
    if (len(answer) - _HEAD) % _ENTRY:
        raise ReplyError("the answer has part of an entry")
    parts = (answer[i : i + _ENTRY] for i in range(_HEAD, len(answer), _ENTRY))
    entries = [
        Entry(
            part[:16],
            part[16],
            int.from_bytes(part[17:23], "big"),
            int.from_bytes(part[23:], "big"),
        )
        for part in parts
    ]
    entries.sort(key=lambda e: (e.added, e.handle))
    return IndexReply(
        answer[16],
        int.from_bytes(answer[17:23], "big"),
        int.from_bytes(answer[23:29], "big"),
        entries,
    )
