"""How one request stands to its session: opens it, makes it, renews it, ends it.

Everything here is a flow. The fields and their values are in session.py.
"""

from __future__ import annotations

import enum
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from . import batch as b
from . import wire
from .batch import Batch, Condition
from .errors import (
    ConflictError,
    GoneError,
    NotIntegerError,
    NotListError,
    NotNavigationError,
    RangeError,
    ResponseStartedError,
    StoreError,
    SupersededError,
    TooLargeError,
)
from .flow import Acquire, Flow
from .http import NOTHING, Candidate, Decision, Offer, Outgoing, Request, candidates
from .log import happened, trouble
from .token import Token, new_handle, new_secret
from .wire import Meta, Reply

if TYPE_CHECKING:
    from .manager import Manager

# How long, in ms, a superseded token keeps a navigation from beginning a new session: the
# browser may have lost the response with its new cookie, and after that time nothing is
# in flight any more.
_SUPERSEDED_FOR: Final = 60_000
_ACCEPTED_NOT: Final = frozenset((wire.ABSENT, wire.ENDED, wire.SUPERSEDED, wire.EXISTS))


class State(enum.Enum):
    """What the request's tokens have turned out to be."""

    UNOPENED = enum.auto()
    NONE = enum.auto()  # absent, long expired, or with a wrong secret
    LIVE = enum.auto()
    SUPERSEDED = enum.auto()
    ENDED = enum.auto()


class Refusal(NamedTuple):
    """Why a token opens nothing."""

    reason: int = 0  # if ended
    own: bool = False  # ended by this request
    age: int = 0  # if superseded: ms since the privilege change


class RequestState:
    """One request's way to its session. It makes one session at most."""

    def __init__(self, manager: Manager, request: Request, tokens: list[Candidate] | None = None):
        self.manager = manager
        self.request = request
        self.out = Outgoing()
        # Held while a token is tried, a record made or a user logged in.
        self.opening = threading.Lock()
        if tokens is None:
            tokens = candidates(request, manager.options.cookie.name, manager.keys)
        self.first = tokens[0].token if tokens else None
        self._untried = tokens
        self.state = State.UNOPENED
        self.current = self.first or Token(new_handle(), 0, bytes(16))  # nobody's, so far
        self.refusal = Refusal()
        self.meta: Meta | None = None  # as last answered
        # What a live read has found: with this token, these meta data are good, and need
        # nothing done, until that time of the store's, in ms.
        self._calm: tuple[Token, bytes, int] | None = None
        self.is_new = False

    @property
    def live(self) -> bool:
        """Whether the request has opened or made a session, which it still holds."""
        return self.state is State.LIVE

    # Batches.

    def text(self, name: str) -> Flow[bytes | None]:
        """Returns a field's text from the store."""
        if self.state is State.LIVE:
            self.out.accessed = True
            token, store = self.current, self.manager.store
            found = yield from store.read_field(token.handle, name, self.manager.options.limits)
            if found is not None:
                raw, text = found
                now = store.now()
                if self._is_calm(token, raw, now):
                    return text
                meta = store.settled(raw, b.held(token), now)
                if meta is not None:
                    self.meta = meta
                    self._calm = token, meta.raw, meta.calm_until
                    if meta.touch_due(now):
                        yield from self._touch()
                    return text
        reply = yield from self.do(Batch((b.get(name),)))
        return reply.values[0].text if reply.values[0].found else None

    def _is_calm(self, token: Token, raw: bytes | None, now: int) -> bool:
        """Whether meta data are those that the last read has found good."""
        calm = self._calm
        return calm is not None and calm[0] is token and calm[1] == raw and now < calm[2]

    def do(self, batch: Batch) -> Flow[Reply]:
        """Applies a batch. A write that finds no session makes one, if it may."""
        self.out.accessed = True
        while True:
            reply = yield from self._do_held(batch)
            if reply is not None:
                return reply
            yield Acquire(self.opening)
            try:
                if not self.live:  # another thread may have opened it
                    return (yield from self._open(batch))
            finally:
                self.opening.release()

    def do_alone(self, batch: Batch) -> Flow[Reply]:
        """Is :meth:`do` for calls that change the session as a whole, under ``opening``."""
        self.out.accessed = True
        reply = yield from self._do_held(batch, alone=True)
        return reply if reply is not None else (yield from self._open(batch))

    def _do_held(self, batch: Batch, alone: bool = False) -> Flow[Reply | None]:
        """Applies a batch to an open session; None if there is none, or not any more."""
        if not self.live:
            return None
        token = self.current
        reply = yield from self.manager.apply(token.handle, batch, b.held(token))
        if reply.status not in _ACCEPTED_NOT:
            self.meta = reply.meta
            if self._touch_is_due(reply):
                yield from self._touch()
            return checked(batch, reply, self.manager)
        if not alone:
            yield Acquire(self.opening)  # a renewal by this request may be under way
        try:
            if self.live and self.current[:2] == token[:2]:
                self.refuse(token.handle, reply)
        finally:
            if not alone:
                self.opening.release()
        return None

    def _open(self, batch: Batch) -> Flow[Reply]:
        """Tries the tokens with the batch itself: a first write costs one round trip."""
        while self._untried:
            candidate = self._untried[0]
            token = candidate.token
            reply = yield from self.manager.apply(token.handle, batch, b.opening(token))
            del self._untried[0]
            if reply.status not in _ACCEPTED_NOT:
                self._untried = []  # when it ends, the request must not go on in another
                yield from self._opened(candidate, reply)
                return checked(batch, reply, self.manager)
            # Of several, the first that was ever good decides what the request may do.
            if self.state in (State.UNOPENED, State.NONE):
                self.refuse(token.handle, reply)
        return (yield from self._without_session(batch))

    def _opened(self, candidate: Candidate, reply: Reply) -> Flow[None]:
        self.current = candidate.token
        meta = reply.meta
        if meta is None:  # destroyed by this batch
            return
        self.state, self.meta = State.LIVE, meta
        if (yield from self._rotate_if_due(candidate, reply)):
            return
        if candidate.old or candidate.token.generation != meta.generation:
            self.issue(reply, certain=False)
        if self._touch_is_due(reply):
            yield from self._touch()

    def _rotate_if_due(self, candidate: Candidate, reply: Reply) -> Flow[bool]:
        """Begins a generation if it is time and the cookie can still be set.

        One of several concurrent requests wins; the others adopt its token.
        """
        options, meta, token = self.manager.options, reply.live_meta(), candidate.token
        due = options.rotate_every and reply.now - meta.renewed >= options.rotate_every * 1000
        if not due or token.generation != meta.generation or self.out.started:
            return False
        rotation = b.rotate(token.generation, new_secret(), round(options.rotate_grace * 1000))
        batch = Batch((rotation, b.touch()))
        try:
            reply = yield from self.manager.apply(token.handle, batch, b.held(token))
        except StoreError as error:
            trouble("cannot rotate the token", token.handle, error)
            return False
        if reply.status != wire.OK:
            return False
        if reply.values[0].found:
            happened("rotated", token.handle)
        yield from self._touched(reply, reply.values[1])
        if reply.live_meta().generation != token.generation or candidate.old:
            self.issue(reply, certain=False)
        return True

    def issue(self, reply: Reply, *, certain: bool) -> None:
        """Has the response set the cookie to the current generation's token."""
        meta = reply.live_meta()
        token = Token(self.current.handle, meta.generation, meta.secret)
        self.out.set(Offer(token, certain, meta.browser_close, meta.deadline - reply.now))

    def offer_again(self) -> None:
        """Has the response set the cookie to the token that it came with."""
        if self.meta is not None and self.out.offer is None:
            left = self.meta.deadline - time.time_ns() // 1_000_000
            self.out.set(Offer(self.current, False, self.meta.browser_close, left))

    def refuse(self, handle: bytes, reply: Reply) -> None:
        """Sets the state after a status that opens nothing."""
        if reply.status == wire.SUPERSEDED:
            self.state = State.SUPERSEDED
            self.refusal = Refusal(age=reply.now - reply.live_meta().floor_time)
            happened("refused, superseded", handle)
        elif reply.status == wire.ENDED:
            self.state, self.refusal = State.ENDED, Refusal(reply.reason)
            happened(f"refused, ended by {b.REASONS[reply.reason]}", handle)
        else:
            self.state = State.NONE

    # Without a session.

    def _without_session(self, batch: Batch) -> Flow[Reply]:
        """Answers a batch when no token opens a session; makes one if it must be."""
        if self.state is State.UNOPENED:
            self.state = State.NONE
        nothing = Reply(values=len(batch.ops))
        if batch.reads_only():
            return nothing
        self._may_write()
        for condition in batch.conditions:
            if condition.kind == b.FIELD_IS or (
                condition.kind == b.REVISION_IS and condition.operand != bytes(6)
            ):
                raise ConflictError("the session is not what was read")
        if not batch.keeps_something():
            return nothing
        if (
            self.state is State.NONE
            and self.manager.options.create_on_navigation
            and not self.request.may_be_first
        ):
            raise NotNavigationError("only a navigation may create a session")
        return (yield from self.create(batch))

    def _may_write(self) -> None:
        """Raises unless a write may begin a new session, whatever the tokens were."""
        if self.state is State.SUPERSEDED:
            if not self.request.navigation or self.refusal.age < _SUPERSEDED_FOR:
                raise SupersededError("the token has been superseded by a newer one")
        elif self.state is State.ENDED and not self.refusal.own:
            replaced = self.refusal.reason == b.REPLACED
            if replaced or not self.request.may_be_first:
                raise GoneError("the session has ended")

    def create(self, batch: Batch) -> Flow[Reply]:
        """Makes a session with the batch's operations. ``opening`` is held."""
        if self.out.started:
            raise ResponseStartedError("a session cannot be made: the response has started")
        handle = new_handle()
        batch = Batch((self.manager.creation(), *batch.ops))
        reply = yield from self.manager.apply(handle, batch, b.AS_ADMIN)
        checked(batch, reply, self.manager)
        self.begin(handle, reply)
        happened("created", handle)
        del reply.values[0]
        return reply

    def begin(self, handle: bytes, reply: Reply) -> None:
        """Takes in that this request has made a session."""
        self.meta = meta = reply.live_meta()
        self.state, self.is_new, self.refusal = State.LIVE, True, Refusal()
        self.current = Token(handle, meta.generation, meta.secret)
        self.issue(reply, certain=True)

    def renewed(self, reply: Reply) -> None:
        """Takes in that this request has begun a generation."""
        self.meta = meta = reply.live_meta()
        self.current = Token(self.current.handle, meta.generation, meta.secret)
        self.issue(reply, certain=True)

    # The session as a whole.

    def destroy(self, reason: int, *conditions: Condition) -> Flow[bool]:
        """Ends the session; tells whether there was one. ``opening`` is held."""
        keep = self.manager.keep_tombstones
        reply = yield from self.do_alone(Batch((b.destroy(reason, keep),), conditions))
        if not reply.values[0].found:
            return False
        handle, user = self.current.handle, wire.text_of(reply.values[0].text)
        self.state, self.refusal = State.ENDED, Refusal(reason, own=True)
        self.is_new, self.meta = False, None
        self.out.delete()
        happened(f"destroyed, {b.REASONS[reason]}", handle)
        if user:
            yield from self.manager.users.unlist(user, [handle])
        return True

    def destroy_if_empty(self) -> Flow[None]:
        """Ends the session if it has no fields and no user. ``opening`` is held.

        Whoever writes at the same time goes before: the session then stays.
        """
        reply = yield from self.do_alone(Batch((b.get_all(), b.get_identity())))
        if not self.live or reply.fields or reply.user:
            return
        try:
            yield from self.destroy(b.LOGOUT, b.revision_is(reply.revision))
        except ConflictError:
            return

    def _touch_is_due(self, reply: Reply) -> bool:
        meta = reply.meta
        return meta is not None and meta.touch_due(reply.now) and self.live

    def _touch(self) -> Flow[None]:
        """Records activity. Trouble is logged: the call itself has succeeded."""
        token = self.current
        try:
            touch = yield from self.manager.apply(token.handle, Batch((b.touch(),)), b.held(token))
        except StoreError as error:
            trouble("cannot record activity", token.handle, error)
            return
        if touch.status == wire.OK:
            yield from self._touched(touch, touch.values[0])

    def _touched(self, reply: Reply, value: wire.Value) -> Flow[None]:
        """Refreshes the user's list after a touch, which heals one that was lost."""
        if value.found and value.text:
            left = reply.live_meta().deadline - reply.now
            user = wire.text_of(value.text)
            yield from self.manager.users.refresh(user, self.current.handle, left)

    # The response.

    def finish(self) -> Flow[Decision]:
        """Closes the response to cookies; returns what it is to say, once."""
        out = self.out
        if not out.begin():
            return NOTHING
        offer = out.offer
        if offer is not None and not offer.certain and not (yield from self._is_current(offer)):
            return NOTHING
        return Decision(offer, out.forget)

    def _is_current(self, offer: Offer) -> Flow[bool]:
        """Whether the session is still in the generation that the response offers.

        A login since then has set the browser's cookie, which must not be overwritten.
        """
        token = offer.token
        try:
            reply = yield from self.manager.apply(
                token.handle, Batch((b.get_identity(),)), b.held(token)
            )
        except StoreError:
            return False
        return (
            reply.status == wire.OK
            and reply.meta is not None
            and reply.meta.generation == token.generation
        )


def checked(batch: Batch, reply: Reply, manager: Manager) -> Reply:
    """Returns a reply whose status is ok; turns any other into an error."""
    status = reply.status
    if status == wire.OK:
        return reply
    if status == wire.CONFLICT:
        raise ConflictError("the session is not what was read")
    name = batch.ops[reply.at].name if reply.at < len(batch.ops) else None
    if status == wire.NOT_INTEGER:
        raise NotIntegerError(f"the field {name!r} is not an integer")
    if status == wire.OUT_OF_RANGE:
        raise RangeError(f"the field {name!r} would pass ±(2^53-1)")
    if status == wire.NOT_LIST:
        raise NotListError(f"the field {name!r} is not a list")
    if status == wire.TOO_LARGE:
        limits = manager.options.limits
        raise TooLargeError(
            f"the field {name!r} does not fit in the session, whose limits are {limits.fields} "
            f"fields, {limits.size} bytes in all and {limits.value} bytes each"
        )
    raise StoreError(f"unexpected answer of the store: status {status}")
