"""Gives requests their sessions, and manages the sessions of users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from . import batch as b
from .aio import AsyncTransport
from .batch import Access, Batch, Op
from .errors import TokenError
from .flow import Flow
from .http import Candidate, Request
from .info import Info
from .log import logger
from .options import Options
from .queue import Queue
from .session import Session
from .state import RequestState
from .store import Store
from .token import Keyring, new_secret
from .transport import Transport
from .url import parse
from .users import Users
from .wire import Reply

T = TypeVar("T")


class Manager:
    """The sessions of one store. It is safe for threads, tasks, greenlets and forks.

    *url* names the store (see pazzo.url). OptionsError is raised when an option or the
    URL is invalid. Nothing is connected before the first use.
    """

    def __init__(self, url: str, options: Options) -> None:
        self.options = options.checked()
        self.keys = Keyring(self.options.secret_keys)
        self.queue = Queue()
        config = parse(url)
        self.store = Store(config)
        self.users = Users(self)
        self.transport = Transport(config, self.options.max_connections)
        self.async_transport = AsyncTransport(config, self.options.max_connections)
        self.absolute = round(self.options.timeouts.absolute * 1000)
        self.keep_tombstones = round(self.options.keep_tombstones * 1000)
        self._warn()

    def _warn(self) -> None:
        if self.options.insecure_http:
            logger.warning(
                "INSECURE: insecure_http is set: session cookies travel in the clear and can be "
                "stolen. Use it in development only."
            )
        if any(len(key.encode()) < 32 for key in self.options.secret_keys):
            logger.warning(
                "INSECURE: a secret key has less than 32 bytes: whoever guesses it can forge "
                "tokens. Move to a longer one; get_secret_string(64) makes one."
            )

    def session(self, request: Request) -> Session:
        """Returns the session of a request. The store is not asked before the first use."""
        return Session(RequestState(self, request))

    def acquire(self, token: str = "") -> Session:
        """Returns the session of a token, without a request.

        An empty token stands for a visitor without a session: the first write makes one.
        ``Session.token`` returns the token to hand back. TokenError is raised when the
        token was not made with one of our keys.
        """
        opened = self.keys.open(token) if token else None
        if token and opened is None:
            raise TokenError("the token was not made with one of our keys")
        tokens = [Candidate(*opened)] if opened else []
        return Session(RequestState(self, Request(detached=True), tokens))

    # Users.

    def sessions(self, user: str) -> list[Info]:
        """Returns the live sessions of a user, the oldest login first."""
        return self.run(self.users.sessions(user))

    def revoke(self, handle: str) -> bool:
        """Destroys a session by its handle; tells whether there was one."""
        return self.run(self.users.revoke(_handle(handle)))

    def revoke_all(self, user: str, keep: Iterable[str] = ()) -> int:
        """Destroys all sessions of a user but those to keep; returns how many it ended.

        Logins under way are included; a later one is not hindered. If some could not be
        ended, the others have been, and the error says why: call it again. MayEvictError
        is raised when the store may have lost the user's list.
        """
        return self.run(self.users.revoke_all(user, _handles(keep)))

    def block(self, user: str, seconds: float = 0) -> None:
        """Ends all sessions of a user and refuses logins, until :meth:`unblock`.

        It lasts as long as that or the absolute timeout, whichever is longer: for an
        account that was disabled. Errors are those of :meth:`revoke_all`.
        """
        self.run(self.users.block(user, self._block_time(seconds)))

    def unblock(self, user: str) -> None:
        """Permits logins of the user again."""
        self.run(self.users.unblock(user))

    async def asessions(self, user: str) -> list[Info]:
        """Is :meth:`sessions`, for asyncio."""
        return await self.arun(self.users.sessions(user))

    async def arevoke(self, handle: str) -> bool:
        """Is :meth:`revoke`, for asyncio."""
        return await self.arun(self.users.revoke(_handle(handle)))

    async def arevoke_all(self, user: str, keep: Iterable[str] = ()) -> int:
        """Is :meth:`revoke_all`, for asyncio."""
        return await self.arun(self.users.revoke_all(user, _handles(keep)))

    async def ablock(self, user: str, seconds: float = 0) -> None:
        """Is :meth:`block`, for asyncio."""
        await self.arun(self.users.block(user, self._block_time(seconds)))

    async def aunblock(self, user: str) -> None:
        """Is :meth:`unblock`, for asyncio."""
        await self.arun(self.users.unblock(user))

    def _block_time(self, seconds: float) -> int:
        return max(round(seconds * 1000), self.absolute)

    # For the package.

    def run(self, flow: Flow[T]) -> T:
        """Runs a flow on this thread."""
        return self.transport.run(flow)

    async def arun(self, flow: Flow[T]) -> T:
        """Runs a flow as this task."""
        return await self.async_transport.run(flow)

    def apply(self, handle: bytes, batch: Batch, access: Access) -> Flow[Reply]:
        """Applies a batch within the limits of the options."""
        return self.store.apply(handle, batch, access, self.options.limits)

    def creation(self) -> Op:
        """Returns the operation that makes a session."""
        idle = round(self.options.timeouts.idle * 1000)
        return b.create(new_secret(), idle, self.absolute, browser_close=False)

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        self.transport.close()

    async def aclose(self) -> None:
        """Closes the connections of the running event loop, too."""
        self.transport.close()
        await self.async_transport.close()


def _handle(text: str) -> bytes:
    handle = bytes.fromhex(text)
    if len(handle) != 16:
        raise ValueError("a handle has 32 hexadecimal digits")
    return handle


def _handles(texts: Iterable[str]) -> Sequence[bytes]:
    return [_handle(text) for text in texts]
