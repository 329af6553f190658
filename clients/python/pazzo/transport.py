"""Runs flows on threads, over redis-py's connections.

redis-py sends and parses; what may be sent again is decided by the store, so its retries
are switched off. One pool per endpoint and process; a fork begins with empty ones.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

import redis
from redis import exceptions as rx
from redis import sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from .flow import PRIMARY, Acquire, Endpoint, Exchange, Flow, LostError, Pause, Reset, UnsentError
from .forking import renew_after_fork
from .sockets import bound_waits
from .url import Config

T = TypeVar("T")
Connection: TypeAlias = Any  # redis-py's, most of which has no types

_Sentinel: Any = sentinel.Sentinel

# Replies that are errors. redis-py has two of them among the faults of connections.
ERROR_REPLIES = (rx.ResponseError, rx.BusyLoadingError, rx.AuthenticationError)
FAULTS = (rx.RedisError, OSError)

# How long a connection has to be idle, in seconds, to be looked at before its use. A
# server that goes within less is no other than one that goes during the use itself.
_IDLE: Final = 0.01


def connection_options(config: Config) -> dict[str, Any]:
    """Returns what redis-py's connections are made with, of threads and of asyncio."""
    options: dict[str, Any] = {
        "db": config.db,
        "username": config.username,
        "password": config.password,
        "socket_timeout": config.timeout,
        "socket_connect_timeout": config.timeout,
        "protocol": 2,
    }
    if config.secure and config.ca:
        options["ssl_ca_certs"] = config.ca
    return options


def sentinel_options(config: Config) -> dict[str, Any]:
    """Returns what the connections to the Sentinels themselves are made with."""
    options: dict[str, Any] = {
        "username": config.sentinel_user,
        "password": config.sentinel_password,
        "socket_timeout": config.timeout,
        "socket_connect_timeout": config.timeout,
        "protocol": 2,
    }
    if config.secure:
        options |= {"ssl": True, "ssl_ca_certs": config.ca}
    return options


class _Pool:
    """Connections to one endpoint. The one used last is used next."""

    def __init__(self, transport: Transport, endpoint: Endpoint) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._timeout = transport.config.timeout
        self.forked()

    def forked(self) -> None:
        """Forgets the connections of the parent process, without closing them there."""
        # One permit for each connection that may be made: a semaphore in C.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._transport.size):
            self._free.put(None)
        self._idle: list[tuple[Connection, float]] = []  # and since when
        self._epoch = 0

    def take(self) -> tuple[Connection, int]:
        """Returns a connection that is ready to send, or raises UnsentError."""
        try:
            self._free.get(timeout=self._timeout)
        except Empty:
            raise UnsentError(f"all {self._transport.size} connections are in use") from None
        epoch = self._epoch
        try:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                connection = self._transport.connection(self._endpoint)
                connection.connect()
                bound_waits(connection, self._timeout)
            else:
                if time.monotonic() - since > _IDLE:
                    self._revive(connection)
        except BaseException as error:
            self._free.put(None)
            if isinstance(error, FAULTS):
                raise UnsentError(reason_of(error, self._timeout)) from error
            raise
        return connection, epoch

    def _revive(self, connection: Connection) -> None:
        """Connects again if the server has closed the connection meanwhile."""
        try:
            stale = connection.can_read(timeout=0)
        except FAULTS:
            stale = True
        if stale:
            connection.disconnect()
            connection.connect()
        bound_waits(connection, self._timeout)  # some versions of redis-py reset it

    def give(self, connection: Connection, epoch: int) -> None:
        """Takes a connection back, unless it is to be closed."""
        if epoch == self._epoch:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.disconnect()
        self._free.put(None)

    def drop(self, connection: Connection) -> None:
        """Closes a connection that may have a reply on its way."""
        connection.disconnect()
        self._free.put(None)

    def reset(self) -> None:
        """Closes all connections, those in use after their use."""
        self._epoch += 1
        while self._idle:
            self._idle.pop()[0].disconnect()


class Transport:
    """Runs flows on threads. It is safe for threads, greenlets and forks."""

    def __init__(self, config: Config, size: int) -> None:
        self.config = config
        self.size = size
        self._lock = threading.Lock()
        self._pools: dict[Endpoint, _Pool] = {}
        renew_after_fork(self)

    def run(self, flow: Flow[T]) -> T:
        """Runs a flow to its end, and returns or raises what it does."""
        try:
            effect = next(flow)
            while True:
                try:
                    if isinstance(effect, Exchange):
                        result = self._exchange(effect)
                    else:
                        result = self._perform(effect)
                except BaseException as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as end:
            result = end.value
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        for pool in list(self._pools.values()):
            pool.reset()

    def forked(self) -> None:
        """Is called in the child of a fork."""
        self._lock = threading.Lock()
        for pool in self._pools.values():
            pool.forked()

    def connection(self, endpoint: Endpoint) -> Connection:
        """Makes a connection, not yet connected but for what Sentinel is asked."""
        options = connection_options(self.config) | {"retry": Retry(NoBackoff(), 0)}
        if endpoint == PRIMARY:
            endpoint = self._primary()
        elif endpoint.port == 0:
            unix: Any = redis.UnixDomainSocketConnection
            return unix(path=endpoint.host, **options)
        kind = redis.SSLConnection if self.config.secure else redis.Connection
        return kind(host=endpoint.host, port=endpoint.port, socket_keepalive=True, **options)

    def _primary(self) -> Endpoint:
        options = sentinel_options(self.config) | {"retry": Retry(NoBackoff(), 0)}
        sentinels: Any = _Sentinel(self.config.endpoints, sentinel_kwargs=options)
        try:
            return Endpoint(*sentinels.discover_master(self.config.primary))
        finally:
            for client in sentinels.sentinels:
                client.close()

    def _perform(self, effect: Acquire | Pause | Reset) -> Any:
        if isinstance(effect, Acquire):
            return effect.lock.acquire(timeout=effect.seconds)
        if isinstance(effect, Pause):
            return time.sleep(effect.seconds)
        return self._pool(effect.endpoint).reset()

    def _exchange(self, effect: Exchange) -> list[Any]:
        pool = self._pool(effect.endpoint)
        connection, epoch = pool.take()
        try:
            connection.send_packed_command([effect.payload], check_health=False)
            replies = [_read(connection)]
            while len(replies) < effect.replies:
                replies.append(_read(connection))
        except BaseException as error:
            pool.drop(connection)
            if isinstance(error, FAULTS):
                raise LostError(reason_of(error, self.config.timeout)) from error
            raise
        pool.give(connection, epoch)
        return replies

    def _pool(self, endpoint: Endpoint) -> _Pool:
        pool = self._pools.get(endpoint)
        if pool is None:
            with self._lock:
                pool = self._pools.setdefault(endpoint, _Pool(self, endpoint))
        return pool


def _read(connection: Connection) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except ERROR_REPLIES as reply:
        return unquoted(reply)


def reason_of(error: BaseException, timeout: float) -> str:
    """Returns why contact was lost."""
    kernel = isinstance(error.__context__, BlockingIOError)  # see pazzo.sockets
    if kernel or isinstance(error, rx.TimeoutError):
        return f"no answer within {timeout:g} s"
    return str(error)


def unquoted(reply: Exception) -> Exception:
    """Cuts off what Redis quotes of a command that it does not know or does not permit.

    There may be a value or a secret in it, and errors are logged.
    """
    text, quotes, _ = str(reply).partition(", with args beginning with")
    if quotes:
        reply.args = (text,)
    return reply
