"""Flows: what a session does, written once for threads and for asyncio.

A flow is a generator that yields effects and is sent their results, so that all there is
to know about sessions stands in one place, and a transport decides how to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


class Endpoint(NamedTuple):
    """Where a server listens: host and port, or the path of a socket and port 0."""

    host: str
    port: int


# The primary of a group that Sentinel watches, wherever it is at the moment.
PRIMARY: Final = Endpoint("", 0)


class Exchange(NamedTuple):
    """Sends a payload and reads so many replies; an error reply is returned, not raised.

    UnsentError or LostError is raised when that is not possible.
    """

    endpoint: Endpoint
    payload: bytes
    replies: int


class Reset(NamedTuple):
    """Closes all connections to an endpoint, those in use after their use."""

    endpoint: Endpoint


class Pause(NamedTuple):
    """Waits so many seconds."""

    seconds: float


class Acquire(NamedTuple):
    """Acquires a lock, at most for so many seconds if any; tells whether it did.

    The lock is one of threads, for tasks too, since one request may use both.
    """

    lock: threading.Lock
    seconds: float = -1


class UnsentError(Exception):
    """There was no connection to send on, so nothing was executed."""


class LostError(Exception):
    """Contact was lost, or the time was over, after sending."""


Effect: TypeAlias = Exchange | Reset | Pause | Acquire
Flow: TypeAlias = Generator[Effect, Any, T]
