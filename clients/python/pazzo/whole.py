"""Calls that concern a session as a whole. All are flows."""

from __future__ import annotations

from typing import NamedTuple

from . import batch as b
from .batch import MAX_TIMEOUT, Batch
from .errors import InTransactionError, OptionsError, ResponseStartedError
from .flow import Acquire, Flow
from .info import Device, Info, info_of
from .log import happened
from .state import RequestState
from .token import new_secret


class Expiry(NamedTuple):
    """How long one session lasts, in seconds from now; None is that of the options.

    ``until_browser_close`` makes the cookie end with the browser. It does not shorten the
    timeouts.
    """

    idle: float | None = None
    absolute: float | None = None
    until_browser_close: bool = False


def may_change(in_transaction: bool) -> None:
    """Raises unless a call may change the session as a whole now."""
    if in_transaction:
        raise InTransactionError("not possible inside atomic()")


def may_renew(state: RequestState, in_transaction: bool) -> None:
    """Raises unless a call may change the token now."""
    may_change(in_transaction)
    if state.out.started:
        raise ResponseStartedError("the cookie cannot be set: the response has started")


def renew(state: RequestState) -> Flow[None]:
    """Gives the session a new token and ends the older ones."""
    yield Acquire(state.opening)
    try:
        reply = yield from state.do_alone(Batch((b.renew(new_secret()),)))
        if reply.meta is None:
            return
        state.renewed(reply)
        happened("renewed", state.current.handle)
    finally:
        state.opening.release()


def create(state: RequestState) -> Flow[None]:
    """Makes an empty session for a request that has none."""
    yield Acquire(state.opening)
    try:
        yield from state.create(Batch(()))
    finally:
        state.opening.release()


def destroy(state: RequestState) -> Flow[bool]:
    """Ends the session; tells whether there was one."""
    yield Acquire(state.opening)
    try:
        return (yield from state.destroy(b.LOGOUT))
    finally:
        state.opening.release()


def destroy_if_empty(state: RequestState) -> Flow[None]:
    """Ends the session if it holds nothing and nobody is logged in."""
    yield Acquire(state.opening)
    try:
        yield from state.destroy_if_empty()
    finally:
        state.opening.release()


def set_expiry(state: RequestState, expiry: Expiry, least: int = 1000) -> Flow[None]:
    """Chooses the timeouts of this session, of at least so many ms."""
    usual = state.manager.options.timeouts
    absolute = _ms(usual.absolute if expiry.absolute is None else expiry.absolute)
    idle = min(_ms(usual.idle), absolute) if expiry.idle is None else _ms(expiry.idle)
    if idle < least or absolute > MAX_TIMEOUT or idle > absolute:
        raise OptionsError(
            f"expiry of {idle} ms idle and {absolute} ms absolute: from {least} to {MAX_TIMEOUT} "
            "ms is allowed, idle not longer than absolute"
        )
    op = b.set_expiry(idle, absolute, expiry.until_browser_close)
    reply = yield from state.do(Batch((op, b.get_identity())))
    state.issue(reply, certain=False)
    if reply.user:
        left = reply.live_meta().deadline - reply.now
        yield from state.manager.users.refresh(reply.user, state.current.handle, left)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def set_device(state: RequestState, device: Device) -> Flow[None]:
    """Records the device."""
    yield from state.do(Batch((b.describe(device.text()),)))


def info(state: RequestState) -> Flow[Info | None]:
    """Asks the store about the session; None if there is none."""
    reply = yield from state.do(Batch((b.get_identity(),)))
    return info_of(state.current.handle, reply) if reply.meta is not None else None
