"""Has this process's contenders for one field of one session wait for one another."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, TypeVar

from .errors import ConflictError
from .flow import Acquire, Flow, Pause
from .forking import renew_after_fork

T = TypeVar("T")

# How often a transaction is tried before it gives up.
_MAX_ATTEMPTS: Final = 64
# The wait in a queue is bounded, since queueing only spares conflicts. In seconds.
_MAX_QUEUEING: Final = 1.0
_FIRST_PAUSE: Final = 0.0001
_LAST_PAUSE: Final = 0.02

Place = tuple[bytes, str]

# Where this thread or task is at the head: an update nested in another of the same field
# must not wait for itself.
_heading: ContextVar[frozenset[Place]] = ContextVar("pazzo_heading", default=frozenset())


class _Line:
    def __init__(self) -> None:
        self.head = threading.Lock()
        self.users = 0


class Queue:
    """The lines of one process, for threads and tasks."""

    def __init__(self) -> None:
        self.forked()
        renew_after_fork(self)

    def forked(self) -> None:
        """Forgets the lines of the parent process, whose threads are not here."""
        self._lock = threading.Lock()
        self._lines: dict[Place, _Line] = {}

    def retry(self, handle: bytes, name: str, attempt: Callable[[], Flow[T]]) -> Flow[T]:
        """Runs attempt until it does not collide.

        It queues up behind others for the same field from the start, and for several
        fields (name is then empty), which may well not collide, when they have.
        """
        place = (handle, name)
        with self._lock:
            line = self._lines.setdefault(place, _Line())
            line.users += 1
        nested = place in _heading.get()
        first = False
        before = _heading.set(_heading.get() | {place})
        try:
            if name and not nested:
                first = yield Acquire(line.head, _MAX_QUEUEING)
            for n in range(_MAX_ATTEMPTS):
                try:
                    return (yield from attempt())
                except ConflictError:
                    if not name and not nested and n == 0:
                        first = yield Acquire(line.head, _MAX_QUEUEING)
                    most = min(_FIRST_PAUSE * 2 ** min(n, 10), _LAST_PAUSE)
                    yield Pause(random.uniform(0, most))  # noqa: S311 - jitter
        finally:
            _heading.reset(before)
            if first:
                line.head.release()
            with self._lock:
                line.users -= 1
                if not line.users:
                    self._lines.pop(place, None)
        raise ConflictError(f"{_MAX_ATTEMPTS} attempts have collided with other writers")
