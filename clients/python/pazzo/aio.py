"""Runs flows on asyncio, over redis-py's connections.

Connections belong to an event loop, so that there is one pool per endpoint and loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import redis.asyncio
from redis.asyncio import sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .flow import PRIMARY, Acquire, Effect, Endpoint, Exchange, Flow, LostError, Pause, UnsentError
from .transport import (
    ERROR_REPLIES,
    FAULTS,
    Connection,
    connection_options,
    reason_of,
    sentinel_options,
    unquoted,
)
from .url import Config

T = TypeVar("T")

_CAN_READ = "can_read" if hasattr(redis.asyncio.Connection, "can_read") else "can_read_destructive"
_Sentinel: Any = sentinel.Sentinel

# How long a task waits, in seconds, between looks at a lock that may be a thread's.
_LOOK = 0.001


class _Pool:
    """Connections to one endpoint. The one used last is used next."""

    def __init__(self, transport: AsyncTransport, endpoint: Endpoint) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._free = asyncio.BoundedSemaphore(transport.size)
        self._idle: list[Connection] = []
        self._epoch = 0

    async def take(self) -> tuple[Connection, int]:
        """Returns a connection that is ready to send, or raises UnsentError."""
        try:
            await asyncio.wait_for(self._free.acquire(), self._transport.config.timeout)
        except asyncio.TimeoutError:
            raise UnsentError(f"all {self._transport.size} connections are in use") from None
        epoch = self._epoch
        try:
            if self._idle:
                connection = self._idle.pop()
                await self._revive(connection)
            else:
                connection = await self._transport.connection(self._endpoint)
                await connection.connect()
        except BaseException as error:
            self._free.release()
            if isinstance(error, FAULTS):
                raise UnsentError(reason_of(error, self._transport.config.timeout)) from error
            raise
        return connection, epoch

    @staticmethod
    async def _revive(connection: Connection) -> None:
        """Connects again if the server has closed the connection meanwhile."""
        try:
            # Before redis-py 8 it has another name.
            stale = await getattr(connection, _CAN_READ)()
        except FAULTS:
            stale = True
        if stale:
            await connection.disconnect(nowait=True)
            await connection.connect()

    async def give(self, connection: Connection, epoch: int) -> None:
        """Takes a connection back, unless it is to be closed."""
        self._free.release()
        if epoch == self._epoch:
            self._idle.append(connection)
        else:
            await connection.disconnect(nowait=True)

    async def drop(self, connection: Connection) -> None:
        """Closes a connection that may have a reply on its way."""
        self._free.release()
        await connection.disconnect(nowait=True)

    async def reset(self) -> None:
        """Closes all connections, those in use after their use."""
        self._epoch += 1
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)


class _Pools:
    """The pools of one event loop, which closes them when it ends.

    ``asyncio.run`` and others close the loop's asynchronous generators before it, and this
    holds one: a connection that outlives its loop cannot be closed any more.
    """

    def __init__(self, forget: Callable[[], object]) -> None:
        self.by_endpoint: dict[Endpoint, _Pool] = {}
        self._forget = forget
        self._at_the_end = self._close()

    async def opened(self) -> _Pools:
        """Has the loop take notice."""
        await anext(self._at_the_end)
        return self

    async def _close(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._forget()
            for pool in self.by_endpoint.values():
                await pool.reset()


class AsyncTransport:
    """Runs flows on asyncio, in any number of event loops."""

    def __init__(self, config: Config, size: int) -> None:
        self.config = config
        self.size = size
        self._pools: dict[asyncio.AbstractEventLoop, _Pools] = {}

    async def run(self, flow: Flow[T]) -> T:
        """Runs a flow to its end, and returns or raises what it does.

        A cancellation goes into the flow like an error; a write that was sent has then an
        unknown outcome.
        """
        try:
            effect = next(flow)
            while True:
                try:
                    result = await self._perform(effect)
                except BaseException as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as end:
            result = end.value
        return result  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Closes the connections of this event loop; a later call opens new ones."""
        for pool in list((await self._of_loop()).values()):
            await pool.reset()

    async def connection(self, endpoint: Endpoint) -> Connection:
        """Makes a connection, not yet connected but for what Sentinel is asked."""
        options = connection_options(self.config) | {"retry": Retry(NoBackoff(), 0)}
        if endpoint == PRIMARY:
            endpoint = await self._primary()
        elif endpoint.port == 0:
            return redis.asyncio.UnixDomainSocketConnection(path=endpoint.host, **options)
        kind = redis.asyncio.SSLConnection if self.config.secure else redis.asyncio.Connection
        return kind(host=endpoint.host, port=endpoint.port, socket_keepalive=True, **options)

    async def _primary(self) -> Endpoint:
        options = sentinel_options(self.config) | {"retry": Retry(NoBackoff(), 0)}
        sentinels: Any = _Sentinel(self.config.endpoints, sentinel_kwargs=options)
        try:
            return Endpoint(*await sentinels.discover_master(self.config.primary))
        finally:
            for client in sentinels.sentinels:
                await client.aclose()

    async def _perform(self, effect: Effect) -> Any:
        if isinstance(effect, Exchange):
            return await self._exchange(effect)
        if isinstance(effect, Acquire):
            return await self._acquire(effect)
        if isinstance(effect, Pause):
            return await asyncio.sleep(effect.seconds)
        return await (await self._pool(effect.endpoint)).reset()

    @staticmethod
    async def _acquire(effect: Acquire) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + effect.seconds
        while not effect.lock.acquire(blocking=False):
            if effect.seconds >= 0 and end < loop.time():
                return False
            await asyncio.sleep(_LOOK)
        return True

    async def _exchange(self, effect: Exchange) -> list[Any]:
        pool = await self._pool(effect.endpoint)
        connection, epoch = await pool.take()
        try:
            await connection.send_packed_command(effect.payload, check_health=False)
            replies = [await _read(connection) for _ in range(effect.replies)]
        except BaseException as error:
            await pool.drop(connection)
            if isinstance(error, FAULTS):
                raise LostError(reason_of(error, self.config.timeout)) from error
            raise
        await pool.give(connection, epoch)
        return replies

    async def _of_loop(self) -> dict[Endpoint, _Pool]:
        loop = asyncio.get_running_loop()
        pools = self._pools.get(loop)
        if pools is None:
            pools = self._pools[loop] = _Pools(lambda: self._pools.pop(loop, None))
            await pools.opened()
        return pools.by_endpoint

    async def _pool(self, endpoint: Endpoint) -> _Pool:
        pools = await self._of_loop()
        pool = pools.get(endpoint)
        if pool is None:
            pool = pools[endpoint] = _Pool(self, endpoint)
        return pool


async def _read(connection: Connection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ERROR_REPLIES as reply:
        return unquoted(reply)
