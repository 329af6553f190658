"""Batches: what one call asks of one session, all of it or nothing.

What the operations do is written in ``apply.lua``; here they are only put together, and
refused if they would be refused by every store. Durations are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from .errors import BatchError, FieldNameError, RangeError, TooLargeError
from .token import Token

MAX_NAME: Final = 256
MAX_INT: Final = 2**53 - 1
MAX_TIMEOUT: Final = 10 * 366 * 24 * 3600 * 1000
MAX_USER: Final = 1024
MAX_DEVICE: Final = 1024
MAX_SESSIONS: Final = 10_000

# Kinds of operations.
GET: Final = 0
GET_ALL: Final = 1
SET: Final = 2
SET_IF_ABSENT: Final = 3
DELETE: Final = 4
POP: Final = 5
ADD: Final = 6
APPEND: Final = 7
DRAIN: Final = 8
CLEAR: Final = 9
GET_IDENTITY: Final = 10
TOUCH: Final = 11
ROTATE: Final = 12
RENEW: Final = 13
AUTHENTICATE: Final = 14
SET_EXPIRY: Final = 15
DESCRIBE: Final = 16
CREATE: Final = 17
DESTROY: Final = 18

# Kinds of conditions.
FIELD_IS: Final = 0
FIELD_ABSENT: Final = 1
REVISION_IS: Final = 2
USER_IS_OR_NONE: Final = 3

# Why a session was destroyed.
LOGOUT: Final = 0
REPLACED: Final = 1
REVOKED: Final = 2
EVICTED: Final = 3
REASONS: Final = ("logout", "replaced", "revoked", "evicted")

# How a batch is let in.
ADMIN: Final = 0
OPEN: Final = 1
HELD: Final = 2

_READS: Final = frozenset((GET, GET_ALL, GET_IDENTITY))
_ONCE: Final = frozenset((GET_ALL, CLEAR, GET_IDENTITY, TOUCH, SET_EXPIRY, DESCRIBE))
_RENEWALS: Final = frozenset((ROTATE, RENEW, AUTHENTICATE))
_KEEPS: Final = frozenset((SET, SET_IF_ABSENT, ADD, APPEND, SET_EXPIRY, DESCRIBE))


class Limits(NamedTuple):
    """Bounds of a session, in bytes but for ``fields``, which counts."""

    name: int = MAX_NAME
    value: int = 256 * 1024
    fields: int = 1024
    size: int = 1024 * 1024


class Access(NamedTuple):
    """Whom a batch is let in as."""

    mode: int = ADMIN
    generation: int = 0
    secret: bytes = bytes(16)


AS_ADMIN: Final = Access()


def opening(token: Token) -> Access:
    """The access of a token that has not opened its session yet."""
    return Access(OPEN, token.generation, token.secret)


def held(token: Token) -> Access:
    """The access of a token that has."""
    return Access(HELD, token.generation, token.secret)


class Op(NamedTuple):
    """An operation: its kind, the field's name if it has one, and its packed operand."""

    kind: int
    name: str | None = None
    operand: bytes | None = None


class Condition(NamedTuple):
    """A condition: its kind, the field's name if it has one, and its packed operand."""

    kind: int
    name: str | None = None
    operand: bytes | None = None


class Batch(NamedTuple):
    """Operations, and the conditions under which they are done."""

    ops: Sequence[Op]
    conditions: Sequence[Condition] = ()

    def reads_only(self) -> bool:
        """Whether the batch can be answered by a plain command."""
        return not self.conditions and _READS.issuperset([op.kind for op in self.ops])

    def keeps_something(self) -> bool:
        """Whether the batch leaves something in a new session."""
        return any(op.kind in _KEEPS for op in self.ops)

    def check(self, access: Access, limits: Limits) -> None:
        """Raises FieldNameError, TooLargeError or BatchError for what must not be sent."""
        for condition in self.conditions:
            if condition.kind <= FIELD_ABSENT:
                check_name(condition.name, limits)
        seen: set[object] = set()
        for op in self.ops:
            if op.name is not None:
                check_name(op.name, limits)
                _once(seen, op.name)
                if op.kind != ADD and op.operand is not None and len(op.operand) > limits.value:
                    raise TooLargeError(
                        f"the field {op.name!r} has {len(op.operand)} bytes, over {limits.value}"
                    )
            elif op.kind in _ONCE:
                _once(seen, op.kind)
            elif op.kind in _RENEWALS:
                _once(seen, _RENEWALS)
            elif op.kind == CREATE and (op is not self.ops[0] or self.conditions or access.mode):
                raise BatchError("create comes first, by admin, and under no condition")
            elif op.kind == DESTROY and len(self.ops) > 1:
                raise BatchError("destroy goes alone")


def _once(seen: set[object], what: object) -> None:
    if what in seen:
        raise BatchError(f"{what!r} is the subject of two operations")
    seen.add(what)


def check_name(name: str | None, limits: Limits) -> None:
    """Raises FieldNameError or TooLargeError unless name can be a field's."""
    if not name or name[0] == "\0":
        raise FieldNameError(f"{name!r} is no name of a field")
    if len(name) <= 64 and name.isascii() and limits.name >= 64:
        return
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise FieldNameError(f"the name {name!r} has half a surrogate pair") from None
    if size > limits.name:
        raise TooLargeError(f"a field's name has {size} bytes, over {limits.name}")


def _u48(number: int) -> bytes:
    return number.to_bytes(6, "big")


def _duration(what: str, ms: int, least: int = 1) -> bytes:
    if not least <= ms <= MAX_TIMEOUT:
        raise BatchError(f"{what} is {ms} ms: {least} to {MAX_TIMEOUT} is allowed")
    return _u48(ms)


def _expiry(idle: int, absolute: int, browser_close: bool) -> bytes:
    packed = _duration("idle", idle), _duration("absolute", absolute)
    return min(packed) + packed[1] + bytes([browser_close])


def get(name: str) -> Op:
    """Answers the field's text."""
    return Op(GET, name)


def get_all() -> Op:
    """Answers all fields."""
    return Op(GET_ALL)


def set_(name: str, text: bytes) -> Op:
    """Gives the field a text."""
    return Op(SET, name, text)


def set_if_absent(name: str, text: bytes) -> Op:
    """Gives the field a text unless it is there; answers the one that was."""
    return Op(SET_IF_ABSENT, name, text)


def delete(name: str) -> Op:
    """Removes the field; answers whether it was there."""
    return Op(DELETE, name)


def pop(name: str) -> Op:
    """Removes the field and answers its text."""
    return Op(POP, name)


def add(name: str, number: int) -> Op:
    """Adds to the integer in the field, or to 0, and answers the sum."""
    if not -MAX_INT <= number <= MAX_INT:
        raise RangeError(f"{number} is beyond ±(2^53-1)")
    return Op(ADD, name, b"%d" % number)


def append(name: str, text: bytes) -> Op:
    """Adds a text to the array in the field, or to ``[]``."""
    return Op(APPEND, name, text)


def drain(name: str) -> Op:
    """Removes the field if it is an array, and answers it."""
    return Op(DRAIN, name)


def clear() -> Op:
    """Removes all fields; goes before all other writes."""
    return Op(CLEAR)


def get_identity() -> Op:
    """Answers who is logged in, and the device."""
    return Op(GET_IDENTITY)


def touch() -> Op:
    """Records activity if that is due; answers whether it was, and the user."""
    return Op(TOUCH)


def rotate(generation: int, secret: bytes, grace: int) -> Op:
    """Begins a generation if the current one is that; answers whether it did."""
    packed = generation.to_bytes(4, "big") + secret
    return Op(ROTATE, None, packed + _duration("grace", grace, 0))


def renew(secret: bytes) -> Op:
    """Begins a generation and ends the older ones."""
    return Op(RENEW, None, secret)


def authenticate(user: str, secret: bytes, absolute: int) -> Op:
    """Renews, and records the user; *absolute* is the time left from now, or 0."""
    return Op(AUTHENTICATE, None, secret + _duration("absolute", absolute, 0) + pack_user(user))


def set_expiry(idle: int, absolute: int, browser_close: bool) -> Op:
    """Gives the session timeouts of its own, from now."""
    return Op(SET_EXPIRY, None, _expiry(idle, absolute, browser_close))


def describe(device: bytes) -> Op:
    """Records the device; an empty one removes it."""
    if len(device) > MAX_DEVICE:
        raise TooLargeError(f"the device has {len(device)} bytes, over {MAX_DEVICE}")
    return Op(DESCRIBE, None, device)


def create(secret: bytes, idle: int, absolute: int, browser_close: bool) -> Op:
    """Makes the session, at generation 1."""
    return Op(CREATE, None, secret + _expiry(idle, absolute, browser_close))


def destroy(reason: int, keep: int) -> Op:
    """Leaves a tombstone for *keep*; answers whether there was a session, and the user."""
    return Op(DESTROY, None, bytes([reason]) + _duration("keep", keep))


def pack_user(user: str) -> bytes:
    """Returns a user's UTF-8, or raises BatchError or TooLargeError."""
    try:
        packed = user.encode()
    except UnicodeEncodeError:
        raise BatchError("the user has half a surrogate pair") from None
    if not packed:
        raise BatchError("the user is empty")
    if len(packed) > MAX_USER:
        raise TooLargeError(f"the user has {len(packed)} bytes, over {MAX_USER}")
    return packed


def field_is(name: str, text: bytes | None) -> Condition:
    """Holds if the field has this very text, or if it is absent for None."""
    if text is None:
        return Condition(FIELD_ABSENT, name)
    return Condition(FIELD_IS, name, text)


def revision_is(revision: int) -> Condition:
    """Holds if the session has not changed since; 0 means that there is none."""
    return Condition(REVISION_IS, None, _u48(revision))


def user_is_or_none(user: str) -> Condition:
    """Holds unless somebody else is logged in."""
    return Condition(USER_IS_OR_NONE, None, user.encode())
