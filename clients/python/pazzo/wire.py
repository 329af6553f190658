"""How batches and their answers look on the wire: the arguments of ``apply.lua``.

The head comment of the script defines both. Numbers are big-endian.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from . import batch as b
from .batch import Access, Batch, Condition, Limits, Op
from .errors import CorruptError, LayoutError

LAYOUT: Final = 1
META_SIZE: Final = 62
_ANSWER: Final = 38
# How near to a session's end, in ms, our idea of the server's clock does not do.
_CLOCK_MARGIN: Final = 40

# Statuses.
OK: Final = 0
ABSENT: Final = 1
ENDED: Final = 2
SUPERSEDED: Final = 3
CONFLICT: Final = 4
EXISTS: Final = 5
OTHER_USER: Final = 6
NOT_INTEGER: Final = 7
OUT_OF_RANGE: Final = 8
NOT_LIST: Final = 9
TOO_LARGE: Final = 10
_UNKNOWN_LAYOUT: Final = 254
_CORRUPT: Final = 255

_HEAD = struct.Struct(">B16sBBI16sIIIIII")
_ANSWERS: Final = frozenset(
    (b.GET, b.SET_IF_ABSENT, b.DELETE, b.POP, b.ADD, b.DRAIN, b.TOUCH, b.ROTATE, b.DESTROY)
)


class ReplyError(Exception):
    """An answer is not what the script gives: a fault of the connection or the server."""


class Value(NamedTuple):
    """What one operation answers."""

    found: bool = False
    text: bytes = b""


class Meta:
    """The meta data of a live session, as they are packed. Times are ms by the store."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != META_SIZE or raw[0] != LAYOUT or raw[1] >= 32:
            unknown_layout(raw)
            raise CorruptError("the store holds meta data that are not a session's")
        self.raw = raw

    def _time(self, at: int) -> int:
        return int.from_bytes(self.raw[at : at + 6], "big")

    @property
    def browser_close(self) -> bool:
        """Whether the session chose a cookie that ends with the browser."""
        return bool(self.raw[1] & 1)

    @property
    def own_timeouts(self) -> bool:
        """Whether the session chose its own timeouts."""
        return bool(self.raw[1] & 2)

    @property
    def unpresented(self) -> bool:
        """Whether nobody has presented the current generation yet."""
        return bool(self.raw[1] & 4)

    @property
    def generation(self) -> int:
        """The generation of the current token."""
        return int.from_bytes(self.raw[2:6], "big")

    @property
    def secret(self) -> bytes:
        """The secret of the current token."""
        return self.raw[10:26]

    @property
    def created(self) -> int:
        """When the session was made."""
        return self._time(26)

    @property
    def deadline(self) -> int:
        """The absolute end."""
        return self._time(32)

    @property
    def idle(self) -> int:
        """The timeout without activity."""
        return self._time(38)

    @property
    def touched(self) -> int:
        """The last recorded activity."""
        return self._time(44)

    @property
    def expires(self) -> int:
        """When the session ends, unless it is used before."""
        return min(self.touched + self.idle, self.deadline)

    @property
    def settled_until(self) -> int:
        """Until when plain meta data show that the session lives."""
        return self.expires - _CLOCK_MARGIN

    @property
    def calm_until(self) -> int:
        """Until when they do, and no activity is to be recorded."""
        return min(self.settled_until, self.touched + self.idle // 10)

    @property
    def floor_time(self) -> int:
        """When older tokens were last ended."""
        return self._time(50)

    @property
    def renewed(self) -> int:
        """When the current generation began."""
        return self._time(56)

    def touch_due(self, now: int) -> bool:
        """Whether activity is to be recorded."""
        return now - self.touched >= self.idle // 10

    def is_of(self, access: Access) -> bool:
        """Whether plain meta data show that the access is given."""
        return (
            hmac.compare_digest(self.raw[10:26], access.secret)
            and self.generation == access.generation
            and not (access.mode == b.OPEN and self.unpresented)
        )


def unknown_layout(raw: bytes) -> None:
    """Raises LayoutError if meta data are of another layout than ours."""
    if raw and raw[0] != LAYOUT:
        raise LayoutError(f"the session has layout {raw[0]}: this version knows layout {LAYOUT}")


class Reply:
    """What a batch was answered. ``meta`` is None if there is no session to tell of."""

    __slots__ = (
        "at", "authenticated", "device", "fields", "meta", "now",
        "reason", "revision", "status", "user", "values",
    )  # fmt: skip

    def __init__(self, status: int = OK, values: int = 0) -> None:
        self.status = status
        self.at = 0
        self.reason = 0
        self.now = 0
        self.revision = 0
        self.meta: Meta | None = None
        self.values = [Value()] * values
        self.fields: dict[str, bytes] = {}
        self.user = ""
        self.authenticated = 0
        self.device = b""

    def set_identity(self, user: bytes | None, device: bytes | None) -> None:
        """Takes the hash fields ``\\0u`` and ``\\0d``."""
        self.device = device or b""
        if user is None:
            return
        if len(user) < 7:
            raise CorruptError("the store holds a user that is none")
        self.authenticated = int.from_bytes(user[:6], "big")
        self.user = text_of(user[6:])

    def live_meta(self) -> Meta:
        """The meta data, of a batch that cannot have succeeded without a session."""
        if self.meta is None:
            raise CorruptError("the store answers for a session without meta data")
        return self.meta


def text_of(raw: bytes) -> str:
    """Decodes a name or a user that the store holds."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise CorruptError("the store holds a name that is not UTF-8") from None


def fields_of(found: Mapping[bytes, bytes | None]) -> dict[str, bytes]:
    """Returns the user's fields among those of a hash, whose other names begin with NUL."""
    try:
        return {
            name.decode(): text
            for name, text in found.items()
            if name[:1] != b"\0" and text is not None
        }
    except UnicodeDecodeError:
        raise CorruptError("the store holds a name that is not UTF-8") from None


def encode(handle: bytes, batch: Batch, access: Access, limits: Limits) -> list[bytes]:
    """Returns the arguments of ``apply.lua``."""
    parts: Sequence[Op | Condition] = (*batch.conditions, *batch.ops)
    names = [part.name.encode() for part in parts if part.name is not None]
    operands = [part.operand for part in parts if part.operand is not None]
    return [_head(handle, batch, access, limits, len(names)), *names, *operands]


def _head(handle: bytes, batch: Batch, access: Access, limits: Limits, names: int) -> bytes:
    ops = bytes([op.kind for op in batch.ops])
    return b"%b%b%b" % (
        _HEAD.pack(
            LAYOUT,
            handle,
            access.mode,
            b.CLEAR in ops,
            access.generation,
            access.secret,
            limits.value,
            limits.fields,
            limits.size,
            names,
            len(batch.conditions),
            len(batch.ops),
        ),
        bytes([c.kind for c in batch.conditions]),
        ops,
    )


def decode(answer: Any, handle: bytes, batch: Batch) -> Reply:
    """Reads the answer of ``apply.lua``. ReplyError is raised unless it is to this call."""
    if not isinstance(answer, bytes) or len(answer) < _ANSWER or answer[:16] != handle:
        raise ReplyError("the answer names another session")
    status, at = answer[16], int.from_bytes(answer[17:21], "big")
    if status == _UNKNOWN_LAYOUT:
        unknown_layout(bytes([at]))
    if status >= _UNKNOWN_LAYOUT:
        raise CorruptError(f"the store holds corrupt data of session {handle.hex()}")
    reply = Reply(status, len(batch.ops))
    reply.at = at
    reply.reason = answer[21]
    reply.now = int.from_bytes(answer[22:28], "big")
    reply.revision = int.from_bytes(answer[28:34], "big")
    rest = _Input(answer, _ANSWER)
    if reply.revision:
        reply.meta = Meta(rest.take(META_SIZE))
    if status == OK:
        for i, op in enumerate(batch.ops):
            _decode_answer(rest, op.kind, i, reply)
    rest.end()
    return reply


def _decode_answer(rest: _Input, kind: int, i: int, reply: Reply) -> None:
    if kind in _ANSWERS:
        reply.values[i] = rest.value()
    elif kind == b.GET_IDENTITY:
        user, device = rest.value(), rest.value()
        reply.set_identity(user.text if user.found else None, device.text)
    elif kind == b.GET_ALL:
        for _ in range(rest.number()):
            name = text_of(rest.take(rest.number()))
            reply.fields[name] = rest.take(rest.number())


class _Input:
    """Reads an answer from its front."""

    __slots__ = ("at", "raw")

    def __init__(self, raw: bytes, at: int) -> None:
        self.raw = raw
        self.at = at

    def take(self, n: int) -> bytes:
        part = self.raw[self.at : self.at + n]
        if len(part) != n:
            raise ReplyError("the answer is cut short")
        self.at += n
        return part

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def value(self) -> Value:
        found = self.take(1) == b"\1"
        return Value(found, self.take(self.number()))

    def end(self) -> None:
        if self.at != len(self.raw):
            raise ReplyError("the answer is too long")
