"""The sessions of a user: listed, revoked, blocked. All methods are flows.

Record and index are in different slots, so that they are not written at once; the order
of the steps, which the protocol prescribes, makes that safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from . import batch as b
from . import index, wire
from .batch import Batch
from .errors import CorruptError, LayoutError, MayEvictError, PazzoError, StoreError
from .flow import Flow
from .index import Entry, IndexReply, Step
from .info import Info, info_of
from .log import happened, trouble

if TYPE_CHECKING:
    from .manager import Manager

# How long, in ms, a listed login may take before it counts as cut short.
_PENDING_FOR: Final = 60_000
# How much longer, in ms, an entry is listed than its session may live: the two are not
# written at the same time, nor by one clock.
_ENTRY_SLACK: Final = 10 * 60_000
# How many sessions a login or a touch ends that somebody else should have ended.
MAX_REMAINS: Final = 8
_ALL: Final = b.MAX_SESSIONS * 2
UNREADABLE: Final = (LayoutError, CorruptError)


def entry_life(left: int) -> int:
    """Returns how long the entry of a session is listed that has *left* ms to live."""
    return min(left + _ENTRY_SLACK, b.MAX_TIMEOUT)


class Users:
    """What a manager does with whole users."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def step(self, user: str, step: Step) -> Flow[IndexReply]:
        """Applies a step to the user's index."""
        b.pack_user(user)
        return (yield from self._manager.store.apply_index(user, step))

    def sessions(self, user: str) -> Flow[list[Info]]:
        """Returns the live sessions of a user, the oldest login first."""
        reply = yield from self.step(user, Step(index.LIST))
        infos, unreadable = yield from self.survey(user, reply, _ALL)
        if unreadable is not None:
            raise unreadable
        return infos

    def survey(
        self, user: str, reply: IndexReply, most: int
    ) -> Flow[tuple[list[Info], StoreError | None]]:
        """Looks up the listed sessions, drops dead entries, and finishes what others left."""
        infos: list[Info] = []
        dead: list[bytes] = []
        unreadable: StoreError | None = None
        for entry in reply.entries:
            if _over(reply, entry):
                continue
            try:
                status, info = yield from self._look_up(entry.handle)
            except UNREADABLE as error:
                unreadable = error
                continue
            if info is not None and info.user == user:
                infos.append(info)
            elif (yield from self._is_dead(entry, status, info, reply.now)):
                dead.append(entry.handle)
        yield from self.unlist(user, dead)
        yield from self.finish(user, reply, most)
        return infos, unreadable

    def _look_up(self, handle: bytes) -> Flow[tuple[int, Info | None]]:
        reply = yield from self._manager.apply(handle, Batch((b.get_identity(),)), b.AS_ADMIN)
        return reply.status, info_of(handle, reply) if reply.status == wire.OK else None

    def _is_dead(self, entry: Entry, status: int, info: Info | None, now: int) -> Flow[bool]:
        """Whether an entry's session is not the user's and never will be.

        A login that is pending may still become one: if it has made no session for long, a
        tombstone keeps it from doing so; if it is to change one that is there, the entry
        stays for as long as that session does.
        """
        if status == wire.ENDED or (info is not None and info.user):
            return True
        if entry.state == index.ACTIVE:
            return status == wire.ABSENT
        if status != wire.ABSENT or now - entry.added <= _PENDING_FOR:
            return False
        tombstone = Batch(
            (b.destroy(b.EVICTED, self._manager.keep_tombstones),), (b.revision_is(0),)
        )
        try:
            reply = yield from self._manager.apply(entry.handle, tombstone, b.AS_ADMIN)
        except StoreError as error:
            trouble("cannot end a login that was cut short", entry.handle, error)
            return False
        return reply.status != wire.CONFLICT

    def revoke(self, handle: bytes) -> Flow[bool]:
        """Destroys a session by its handle; tells whether there was one."""
        ended, user = yield from self.end(handle, b.REVOKED)
        if user:
            yield from self.unlist(user, [handle])
        return ended

    def end(self, handle: bytes, reason: int, of_user: str | None = None) -> Flow[tuple[bool, str]]:
        """Destroys a session, if it is that user's or nobody's; tells whose it was."""
        conditions = () if of_user is None else (b.user_is_or_none(of_user),)
        batch = Batch((b.destroy(reason, self._manager.keep_tombstones),), conditions)
        reply = yield from self._manager.apply(handle, batch, b.AS_ADMIN)
        if reply.status != wire.OK or not reply.values[0].found:
            return False, ""
        happened(f"destroyed, {b.REASONS[reason]}", handle)
        return True, wire.text_of(reply.values[0].text)

    def revoke_all(self, user: str, keep: Sequence[bytes]) -> Flow[int]:
        """Destroys all sessions of a user but those to keep, logins under way included."""
        yield from self.must_list()
        reply = yield from self.step(user, Step(index.LIST))
        return (yield from self._revoke_listed(user, reply, keep))

    def _revoke_listed(self, user: str, reply: IndexReply, keep: Sequence[bytes]) -> Flow[int]:
        count, over = 0, []
        failure: PazzoError | None = None
        for entry in reply.entries:
            if entry.handle in keep:
                continue
            try:
                ended, _ = yield from self.end(entry.handle, b.REVOKED, user)
            except StoreError as error:
                failure = error
                continue
            over.append(entry.handle)
            count += ended
        yield from self.unlist(user, over)
        if failure is not None:
            raise failure
        return count

    def block(self, user: str, duration: int) -> Flow[None]:
        """Ends all sessions of a user and refuses logins for *duration* ms."""
        yield from self.must_list()
        reply = yield from self.step(user, Step(index.BLOCK, duration=duration))
        yield from self._revoke_listed(user, reply, ())

    def unblock(self, user: str) -> Flow[None]:
        """Permits logins again; ends first what a block that failed has left."""
        reply = yield from self.step(user, Step(index.LIST))
        yield from self.finish(user, reply, _ALL)
        yield from self.step(user, Step(index.UNBLOCK))

    def must_list(self) -> Flow[None]:
        """Raises MayEvictError if lists may be lost and that was not accepted."""
        if self._manager.options.best_effort_users:
            return
        if (yield from self._manager.store.may_evict()):
            raise MayEvictError(
                "the store may evict sessions and lists: for Redis, set maxmemory-policy "
                "noeviction, or accept it with best_effort_users"
            )

    def unlist(self, user: str, handles: Sequence[bytes]) -> Flow[None]:
        """Drops handles from a user's index.

        Trouble is logged: a dead entry is dropped whenever the list is next looked at.
        """
        if not handles:
            return
        try:
            yield from self.step(user, Step(index.UNLIST, handles=handles))
        except StoreError as error:
            trouble("cannot unlist a session", handles[0], error)

    def finish(self, user: str, reply: IndexReply, most: int) -> Flow[None]:
        """Ends the doomed of a reply, and all of a blocked user, whoever left them.

        Trouble is logged: the next look at the list tries again.
        """
        reason = b.REVOKED if reply.blocked_until else b.EVICTED
        over = [entry.handle for entry in reply.entries if _over(reply, entry)]
        ended = []
        for handle in over[:most]:
            try:
                yield from self.end(handle, reason, user)
            except StoreError as error:
                trouble("cannot end a session over the cap or of a blocked user", handle, error)
                continue
            ended.append(handle)
        yield from self.unlist(user, ended)

    def refresh(self, user: str, handle: bytes, left: int) -> Flow[None]:
        """Lists a session that has *left* ms to live, and ends it if it is not to be.

        Trouble is logged: the next touch tries again.
        """
        lifetime = entry_life(max(self._manager.absolute, left))
        try:
            step = Step(index.REFRESH, handle, lifetime=lifetime)
            reply = yield from self.step(user, step)
        except StoreError as error:
            trouble("cannot list a session", handle, error)
            return
        if reply.status != index.OK:  # it may not be in the reply
            yield from self.finish(user, reply._replace(entries=[_doomed(handle)]), 1)
        most = _ALL if reply.blocked_until else MAX_REMAINS
        yield from self.finish(user, reply, most)

    def finish_doomed(self, user: str, handle: bytes, reply: IndexReply) -> Flow[None]:
        """Ends one session that the index does not want any more."""
        yield from self.finish(user, reply._replace(entries=[_doomed(handle)]), 1)

    def finish_all(self, user: str, reply: IndexReply) -> Flow[None]:
        """Ends everything in a reply that is to be ended."""
        yield from self.finish(user, reply, _ALL)


def _over(reply: IndexReply, entry: Entry) -> bool:
    """Whether an entry's session is to be ended."""
    return bool(reply.blocked_until) or entry.state == index.DOOMED


def _doomed(handle: bytes) -> Entry:
    return Entry(handle, index.DOOMED, 0, 0)


def newly_doomed(before: IndexReply, after: IndexReply) -> list[Entry]:
    """Returns the entries that were doomed between two replies: a login's own to end.

    Whoever doomed the others is probably at it, and many logins at once must not all end
    them all.
    """
    was: Iterable[bytes] = {e.handle for e in before.entries if e.state == index.DOOMED}
    return [entry for entry in after.entries if entry.handle not in was]
