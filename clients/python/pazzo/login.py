"""Logging in: the steps on the user's index and on the record, in the protocol's order."""

from __future__ import annotations

from typing import Final, NamedTuple

from . import batch as b
from . import index, wire
from .batch import Batch
from .errors import (
    BlockedError,
    ConflictError,
    GoneError,
    OutcomeUnknownError,
    PazzoError,
    StoreError,
    SupersededError,
    TooManySessionsError,
)
from .flow import Acquire, Flow
from .index import IndexReply, Step
from .log import happened, trouble
from .state import RequestState
from .token import new_handle, new_secret
from .users import MAX_REMAINS, entry_life, newly_doomed
from .wire import Reply

# How often a login starts over when the session changes hands under it.
_MAX_LOGINS: Final = 8


class _Plan(NamedTuple):
    """The session that the user is to be logged in to."""

    handle: bytes
    fresh: bool  # to be made
    replaces: bool  # another user's, which is destroyed


class Login:
    """One user's login in one request."""

    def __init__(self, state: RequestState, user: str) -> None:
        b.pack_user(user)
        self._state = state
        self._manager = state.manager
        self._users = state.manager.users
        self._user = user

    def run(self) -> Flow[None]:
        """Logs the user in."""
        yield Acquire(self._state.opening)
        try:
            for _ in range(_MAX_LOGINS):
                if (yield from self._attempt()):
                    return
        finally:
            self._state.opening.release()
        raise ConflictError("the session keeps changing hands")

    def _attempt(self) -> Flow[bool]:
        """Tries it. False is returned when another request has come in between."""
        plan = yield from self._plan()
        listed = yield from self._enlist(plan.handle)
        if listed is None:
            return False
        if plan.replaces:
            yield from self._replace(plan.handle)
        try:
            reply = yield from self._authenticate(plan)
        except PazzoError as error:
            # After an unknown outcome the session may be the user's now, and one that was
            # there before may be by another request's login: then it stays listed.
            if plan.fresh and not isinstance(error, OutcomeUnknownError):
                yield from self._users.unlist(self._user, [plan.handle])
            raise
        if reply.status != wire.OK:
            yield from self._lost(plan, reply)
            return False
        yield from self._confirm(plan.handle, reply)
        if plan.fresh:
            self._state.begin(plan.handle, reply)
            happened("created", plan.handle)
        else:
            self._state.renewed(reply)
        happened("authenticated", plan.handle)
        yield from self._users.finish_all(self._user, listed)
        return True

    def _plan(self) -> Flow[_Plan]:
        state = self._state
        reply = yield from state.do_alone(Batch((b.get_identity(),)))
        replaces = state.live and reply.user not in ("", self._user)
        if state.live and not replaces:
            return _Plan(state.current.handle, False, False)
        return _Plan(new_handle(), True, replaces)

    def _enlist(self, handle: bytes) -> Flow[IndexReply | None]:
        """Lists the session within the cap; None if it was over the cap already."""
        options = self._manager.options
        if options.max_per_user < b.MAX_SESSIONS:
            yield from self._users.must_list()
        step = Step(
            index.ENLIST,
            handle,
            most=options.max_per_user,
            evict=options.when_full == "evict",
            lifetime=entry_life(self._manager.absolute),
        )
        reply = yield from self._users.step(self._user, step)
        if reply.status == index.UNVERIFIED:
            reply = yield from self._verified(step, reply)
        elif reply.status == index.OK:
            reply = reply._replace(entries=reply.entries[:MAX_REMAINS])
        if reply.status == index.BLOCKED:
            yield from self._users.finish_all(self._user, reply)
            raise BlockedError("the user is blocked")
        if reply.status == index.FULL:
            raise TooManySessionsError(f"the user has {options.max_per_user} sessions")
        if reply.status == index.IS_DOOMED:
            yield from self._users.finish_doomed(self._user, handle, reply)
            return None
        return reply

    def _verified(self, step: Step, before: IndexReply) -> Flow[IndexReply]:
        """Drops dead entries, and enlists again."""
        # A session that this version cannot read counts as live.
        yield from self._users.survey(self._user, before, MAX_REMAINS)
        reply = yield from self._users.step(self._user, step._replace(verified=True))
        return reply._replace(entries=newly_doomed(before, reply))

    def _replace(self, handle: bytes) -> Flow[None]:
        """Destroys the session of another user."""
        try:
            yield from self._state.destroy(b.REPLACED)
        except (GoneError, SupersededError):
            pass  # it is no longer the request's
        except PazzoError:
            yield from self._users.unlist(self._user, [handle])
            raise

    def _authenticate(self, plan: _Plan) -> Flow[Reply]:
        login = b.authenticate(self._user, new_secret(), self._manager.absolute)
        if plan.fresh:
            batch, access = Batch((self._manager.creation(), login)), b.AS_ADMIN
        else:
            batch, access = Batch((login,)), b.held(self._state.current)
        return (yield from self._manager.apply(plan.handle, batch, access))

    def _lost(self, plan: _Plan, reply: Reply) -> Flow[None]:
        """Takes in that the record did not take the login.

        Its entry goes only if the record can never become the user's: a token that was
        superseded may have been so by the same user's login.
        """
        if plan.fresh or reply.status in (wire.OTHER_USER, wire.ENDED):
            yield from self._users.unlist(self._user, [plan.handle])
        if plan.fresh:  # its pending entry was revoked
            raise GoneError("the login was revoked while it was under way")
        if reply.status == wire.OTHER_USER:
            return
        self._state.refuse(plan.handle, reply)
        if reply.status == wire.ENDED and reply.reason in (b.REVOKED, b.EVICTED):
            raise GoneError("the session was revoked while the login was under way")

    def _confirm(self, handle: bytes, login: Reply) -> Flow[None]:
        """Makes the entry final. Nobody may stay logged in unlisted."""
        failure: PazzoError
        try:
            reply = yield from self._users.step(self._user, Step(index.CONFIRM, handle))
            left = login.live_meta().deadline - login.now
            if reply.status == index.OK and left > self._manager.absolute:
                # The session chose a longer life than the entry has.
                step = Step(index.REFRESH, handle, lifetime=entry_life(left))
                reply = yield from self._users.step(self._user, step)
        except StoreError as error:
            failure, reason = error, b.EVICTED
        else:
            if reply.status == index.OK:
                return
            if reply.status == index.BLOCKED:
                failure, reason = BlockedError("the user is blocked"), b.REVOKED
            else:
                failure = GoneError("the login was revoked while it was under way")
                reason = b.EVICTED
        try:
            yield from self._users.end(handle, reason, self._user)
        except StoreError as error:
            trouble("cannot end a session whose login failed", handle, error)
        else:
            yield from self._users.unlist(self._user, [handle])
        raise failure
