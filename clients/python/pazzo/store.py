"""The store: applies batches and index steps, and says what a failure proves."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis import exceptions as rx
from redis.crc import key_slot

from . import batch as b
from . import index, wire
from .batch import Access, Batch, Limits
from .errors import (
    CorruptError,
    FullError,
    OutcomeUnknownError,
    StoreError,
    UnavailableError,
)
from .flow import PRIMARY, Endpoint, Exchange, Flow, LostError, Pause, Reset, UnsentError
from .index import IndexReply, Step
from .scripts import APPLY, INDEX, Script
from .url import Config
from .wire import Meta, Reply, ReplyError, Value

# The wait between attempts that a server refused, in seconds, without jitter.
_FIRST_WAIT: Final = 0.005
_LAST_WAIT: Final = 0.05
# How often reads make sure that they talk to a primary, in seconds. A server that has
# been demoted under its name goes on answering them.
_PRIMARY_CHECK: Final = 1.0
# Replies that say that a command was not executed, and may be sooner or later.
_RETRYABLE: Final = frozenset(
    ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY", "NOSCRIPT")
)
# redis-py takes the first word off the replies that it has classes for; which it has
# depends on its version.
_CODES: Final = {
    rx.NoScriptError: "NOSCRIPT",
    rx.ReadOnlyError: "READONLY",
    rx.BusyLoadingError: "LOADING",
    rx.MovedError: "MOVED",
    rx.AskError: "ASK",
    rx.TryAgainError: "TRYAGAIN",
    rx.ClusterDownError: "CLUSTERDOWN",
    rx.MasterDownError: "MASTERDOWN",
    rx.OutOfMemoryError: "OOM",
}


def pack(*args: bytes) -> bytes:
    """Returns a command in RESP."""
    return b"*%d\r\n%b" % (len(args), _bulks(args))


def _bulks(args: Iterable[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args])


_ASKING: Final = pack(b"ASKING")
# How a call of a script that the server knows begins.
_BY_SHA: Final = {script: _bulks((b"EVALSHA", script.sha, b"1")) for script in (APPLY, INDEX)}


def code_of(reply: object) -> str:
    """Returns the first word of an error reply; "" for anything else."""
    if not isinstance(reply, rx.RedisError):
        return ""
    return _CODES.get(type(reply)) or str(reply).partition(" ")[0]


class _Call:
    """A command on a key, in the forms that it takes until it is answered."""

    known = True  # to the server, if it is a script
    cut = False  # contact was lost once

    def __init__(
        self, key: bytes, writes: bool, parts: Sequence[bytes], script: Script | None = None
    ) -> None:
        self.key = key
        self.writes = writes
        self._parts = parts
        self._script = script

    def packed(self) -> bytes:
        if self._script is None:
            return pack(*self._parts)
        how = _BY_SHA[self._script] if self.known else _bulks((b"EVAL", self._script.source, b"1"))
        return b"*%d\r\n%b%b" % (4 + len(self._parts), how, _bulks((self.key, *self._parts)))


class Store:
    """Redis, Valkey or an agent. All methods are flows."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._key = config.prefix.encode() + b"{%b}"
        self._none = pack(b"DEL", config.prefix.encode() + b"none")
        self._offset: int | None = None  # the server's clock minus ours, ms
        self._primary_until = 0.0
        self._slots: dict[int, Endpoint] = {}
        self._seed = 0

    # Batches.

    def apply(self, handle: bytes, batch: Batch, access: Access, limits: Limits) -> Flow[Reply]:
        """Applies a batch to the session of that handle."""
        batch.check(access, limits)
        key = self._key % handle.hex().encode()
        reads = batch.reads_only()
        if reads and access.mode != b.ADMIN and self._offset is not None:
            reply = yield from self._read(key, batch, access)
            if reply is not None:
                return reply
        args = wire.encode(handle, batch, access, limits)
        call = _Call(key, not reads, args, APPLY)
        answer = yield from self._call(call)
        try:
            reply = wire.decode(answer, handle, batch)
        except ReplyError as error:
            raise (yield from self._distrust(call, error)) from error
        self._learn(reply.now)
        return reply

    def apply_index(self, user: str, step: Step) -> Flow[IndexReply]:
        """Applies a step to the index of a user's sessions."""
        key = f"{self.config.prefix}u:{index.digest(user).hex()}".encode()
        call = _Call(key, step.kind != index.LIST, index.encode(user, step), INDEX)
        answer = yield from self._call(call)
        try:
            reply = index.decode(answer, user)
        except ReplyError as error:
            raise (yield from self._distrust(call, error)) from error
        self._learn(reply.now)
        return reply

    def may_evict(self) -> Flow[bool]:
        """Whether the server may drop sessions and lists on its own, or does not tell."""
        for command in ((b"CONFIG", b"GET", b"maxmemory-policy"), (b"INFO", b"memory")):
            try:
                answer = yield from self._call(_Call(b"", False, command))
            except UnavailableError as error:
                if not isinstance(error.__cause__, rx.ResponseError):
                    raise
                continue  # we may not know
            text = b"\n".join(answer) if isinstance(answer, list) else answer
            if b"noeviction" in text:
                return False
        return True

    # Live reads.

    def read_field(
        self, handle: bytes, name: str, limits: Limits
    ) -> Flow[tuple[bytes | None, bytes | None] | None]:
        """Reads one field by a plain command: the commonest call, on a short way.

        It returns the packed meta data, with which :meth:`settled` has to agree, and the
        text; None if the server's clock is not known yet.
        """
        if self._offset is None:
            return None
        b.check_name(name, limits)
        key = self._key % handle.hex().encode()
        call = _Call(key, False, (b"HMGET", key, b"\0m", name.encode()))
        answer = yield from self._call(call)
        if type(answer) is not list or len(answer) != 2:
            raise (yield from self._distrust(call, "a reply of another length"))
        return answer[0], answer[1]

    def _read(self, key: bytes, batch: Batch, access: Access) -> Flow[Reply | None]:
        """Reads by a plain command. None is returned if that does not settle the batch."""
        if any(op.kind == b.GET_ALL for op in batch.ops):
            call = _Call(key, False, (b"HGETALL", key))
            answer = yield from self._call(call)
            whole = type(answer) is list and len(answer) % 2 == 0
            names, texts = (answer[::2], answer[1::2]) if whole else ([], None)
        else:
            names = [b"\0m"]
            for op in batch.ops:
                names += [op.name.encode()] if op.name is not None else [b"\0u", b"\0d"]
            call = _Call(key, False, (b"HMGET", key, *names))
            texts = yield from self._call(call)
        if type(texts) is not list or len(texts) != len(names):
            raise (yield from self._distrust(call, "a reply of another length"))
        found = dict(zip(names, texts, strict=True))
        return self._settle(found, batch, access)

    def _settle(
        self, found: dict[bytes, bytes | None], batch: Batch, access: Access
    ) -> Reply | None:
        now = self.now()
        meta = self.settled(found.get(b"\0m"), access, now)
        if meta is None:
            return None
        reply = Reply(values=len(batch.ops))
        reply.meta, reply.now = meta, now
        reply.revision = int.from_bytes((found.get(b"\0r") or b"")[:6], "big")
        for i, op in enumerate(batch.ops):
            if op.kind == b.GET_IDENTITY:
                reply.set_identity(found.get(b"\0u"), found.get(b"\0d"))
            elif op.kind == b.GET_ALL:
                reply.fields = wire.fields_of(found)
            elif op.name is not None:
                text = found.get(op.name.encode())
                reply.values[i] = Value(text is not None, text or b"")
        return reply

    @staticmethod
    def settled(raw: bytes | None, access: Access, now: int) -> Meta | None:
        """Returns meta data that show that the access is given."""
        if raw is None or len(raw) != wire.META_SIZE or raw[0] != wire.LAYOUT or raw[1] >= 32:
            return None
        meta = Meta(raw)
        return meta if meta.is_of(access) and now < meta.settled_until else None

    def _learn(self, now: int) -> None:
        self._offset = now - time.time_ns() // 1_000_000

    def now(self) -> int:
        """The server's time in ms, as far as we know."""
        return time.time_ns() // 1_000_000 + (self._offset or 0)

    # Calls.

    def _call(self, call: _Call) -> Flow[Any]:
        """Sends a command until it is answered.

        It is repeated only after a reply that proves that it was not executed, and if it
        only reads, once after contact was lost.
        """
        end = time.monotonic() + self.config.timeout
        wait = _FIRST_WAIT
        ask: Endpoint | None = None
        while True:
            endpoint = ask or self._endpoint(call.key)
            sent = time.monotonic()
            exchange = self._exchange(endpoint, call, sent, ask is not None)
            try:
                replies = yield exchange
            except (UnsentError, LostError) as error:
                answer: Any = self._failed(endpoint, call, error)
            else:
                answer = replies[0] if exchange.replies == 1 else self._last(replies, sent, ask)
            if not isinstance(answer, Exception):
                return answer
            if code_of(answer) == "NOSCRIPT" and call.known:
                call.known = False  # EVAL makes it known to this server
                continue
            ask = yield from self._redirect(endpoint, call, answer)
            if time.monotonic() + wait > end:
                if isinstance(answer, LostError):
                    raise _lost(call, answer) from answer
                raise UnavailableError(f"the store refuses for now: {answer}") from answer
            yield Pause(wait * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            wait = min(2 * wait, _LAST_WAIT)

    def _exchange(self, endpoint: Endpoint, call: _Call, now: float, asking: bool) -> Exchange:
        """Returns how a command goes out.

        Before a read there goes now and then a write, which a replica refuses.
        """
        if asking:
            return Exchange(endpoint, _ASKING + call.packed(), 2)
        if call.writes or now < self._primary_until or self.config.kind == "cluster":
            return Exchange(endpoint, call.packed(), 1)
        return Exchange(endpoint, self._none + call.packed(), 2)

    def _last(self, replies: list[Any], sent: float, ask: Endpoint | None) -> Any:
        """Returns the reply to the command, or to the write before it if it was refused."""
        if ask is None:
            if code_of(replies[0]) == "READONLY":
                return replies[0]
            self._primary_until = sent + _PRIMARY_CHECK
        return replies[1]

    def _failed(self, endpoint: Endpoint, call: _Call, error: UnsentError | LostError) -> Exception:
        """Returns a failure after which to try again; raises if there is no such thing."""
        self._forget(endpoint)
        if isinstance(error, LostError):
            if call.writes or call.cut:
                raise _lost(call, error) from error
            call.cut = True
        return error

    def _redirect(
        self, endpoint: Endpoint, call: _Call, answer: Exception
    ) -> Flow[Endpoint | None]:
        """Prepares another attempt, or raises; returns where to ask for that once."""
        code = code_of(answer)
        if code in ("MOVED", "ASK"):
            return self._follow(endpoint, code, str(answer))
        if code == "READONLY":
            self._primary_until = 0.0
            yield Reset(endpoint)
        elif isinstance(answer, UnsentError):
            if self.config.kind != "cluster":
                raise UnavailableError(f"cannot connect to the store: {answer}") from answer
        elif code not in _RETRYABLE and not isinstance(answer, LostError):
            raise _refused(call, code, answer) from answer
        return None

    def _distrust(self, call: _Call, why: object) -> Flow[StoreError]:
        """Closes the connections that gave somebody else's answer; returns the error."""
        yield Reset(self._endpoint(call.key))
        return _lost(call, why)

    # Where to send.

    def _endpoint(self, key: bytes) -> Endpoint:
        if self.config.kind == "sentinel":
            return PRIMARY
        seed = self.config.endpoints[self._seed % len(self.config.endpoints)]
        if self.config.kind == "cluster" and key:
            return self._slots.get(key_slot(key), seed)
        return seed

    def _follow(self, endpoint: Endpoint, code: str, text: str) -> Endpoint | None:
        """Takes in where a slot is; returns where to ask this once."""
        slot, place = text.split()[-2:]
        host, _, port = place.rpartition(":")
        there = Endpoint(host or endpoint.host, int(port))
        if code == "ASK":
            return there
        self._slots[int(slot)] = there
        return None

    def _forget(self, endpoint: Endpoint) -> None:
        """Has the next attempt ask another server of a Cluster where the slots are."""
        self._slots = {slot: at for slot, at in self._slots.items() if at != endpoint}
        self._seed += 1


def _lost(call: _Call, why: object) -> StoreError:
    if call.writes:
        return OutcomeUnknownError(f"the write may or may not have been executed: {why}")
    return UnavailableError(f"the store did not answer: {why}")


def _refused(call: _Call, code: str, reply: Exception) -> StoreError:
    text = str(reply)
    if code == "OOM":
        return FullError(f"the store is full: {text}")
    if code == "WRONGTYPE":
        return CorruptError("the store holds something else than a session: WRONGTYPE")
    if "script: " in text:  # it failed on the way
        return _lost(call, text)
    return UnavailableError(f"the store refuses: {text}")
