"""Transactions: reads and writes of several fields, all or nothing.

::

    with session.atomic() as tx:
        tx["to"] += tx["from"]
        tx["from"] = 0

The session is read once, at the beginning; the writes are applied as one batch at the
end, on condition that every field that was read is still what it was, or the whole
session if its fields were listed or counted. ConflictError is raised otherwise, with
nothing written. A ``with`` block cannot run twice: ``session.atomically(function)`` does
that, until there is no conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from . import batch as b
from . import values
from .batch import Condition, Op
from .errors import BatchError
from .flow import Flow
from .wire import Reply

if TYPE_CHECKING:
    from .fields import Fields
    from .manager import Manager

T = TypeVar("T")


class Owner(Protocol):
    """What a transaction needs of a session."""

    manager: Manager
    fields: Fields
    in_transaction: bool


class Transaction(MutableMapping[str, Any]):
    """The session as a transaction sees it."""

    def __init__(self, loaded: Reply) -> None:
        self._base = loaded.fields
        self._revision = loaded.revision
        self._values: dict[str, Any] = {}  # decoded, so that changes in place are found
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._blind: dict[str, Op] = {}  # add and append, which read nothing
        self._cleared = False
        self._listed = False

    def __getitem__(self, name: str) -> Any:
        self._not_blind(name)
        if name not in self._values and not self._cleared and name not in self._written:
            self._read.add(name)
            if name in self._base:
                self._values[name] = values.decode(name, self._base[name])
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._not_blind(name)
        values.encode(name, value)
        self._values[name] = value
        self._written.add(name)

    def __delitem__(self, name: str) -> None:
        self[name]  # KeyError if there is none
        del self._values[name]
        self._written.add(name)

    def __iter__(self) -> Iterator[str]:
        self._listed = True
        base = () if self._cleared else self._base
        names = {name for name in base if name not in self._written} | self._values.keys()
        return iter(sorted(names))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def clear(self) -> None:
        """Removes all fields."""
        self._cleared = True
        for part in (self._values, self._blind, self._written):
            part.clear()

    def add(self, name: str, number: int) -> None:
        """Adds to an integer when the transaction is applied, without reading it."""
        self._blindly(b.add(name, number))

    def append(self, name: str, value: Any) -> None:
        """Adds to a list when the transaction is applied, without reading it."""
        self._blindly(b.append(name, values.encode(name, value)))

    def _blindly(self, op: Op) -> None:
        name = op.name or ""
        if name in self._written or name in self._read or name in self._blind:
            raise BatchError(f"the transaction has read or written {name!r} already")
        self._blind[name] = op

    def _not_blind(self, name: str) -> None:
        if name in self._blind:
            raise BatchError(f"the transaction adds to {name!r}, whose value it cannot know")

    def ops(self) -> list[Op]:
        """Returns what the transaction is to write. Removals make room for what follows."""
        texts = {name: values.encode(name, value) for name, value in self._values.items()}
        removed = [name for name in self._written if name not in texts]
        changed = [name for name in texts if name in self._written or self._differs(name, texts)]
        ops = [b.clear()] if self._cleared else [b.delete(name) for name in sorted(removed)]
        ops += [b.set_(name, texts[name]) for name in sorted(changed)]
        return ops + list(self._blind.values())

    def _differs(self, name: str, texts: dict[str, bytes]) -> bool:
        """Whether a value was changed in place, compared by this encoder's own texts."""
        return texts[name] != values.encode(name, values.decode(name, self._base[name]))

    def conditions(self) -> list[Condition]:
        """Returns what must still hold."""
        if self._listed:
            return [b.revision_is(self._revision)]
        return [b.field_is(name, self._base.get(name)) for name in sorted(self._read)]


class Atomic:
    """The context manager of a transaction, for ``with`` and ``async with``."""

    def __init__(self, session: Owner) -> None:
        self._session = session
        self._transaction: Transaction | None = None

    def begin(self) -> Flow[Transaction]:
        """Saves what was changed in place before, and loads the session."""
        self._session.in_transaction = True
        try:
            yield from self._session.fields.save()
            self._transaction = Transaction((yield from self._session.fields.load()))
        except BaseException:
            self._session.in_transaction = False
            raise
        return self._transaction

    def end(self, failed: bool) -> Flow[None]:
        """Applies the writes, unless the block has failed."""
        self._session.in_transaction = False
        transaction, self._transaction = self._transaction, None
        if failed or transaction is None:
            return
        ops = transaction.ops()
        if ops:
            yield from self._session.fields.commit(ops, transaction.conditions())

    def __enter__(self) -> Transaction:
        return self._session.manager.run(self.begin())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.manager.run(self.end(kind is not None))

    async def __aenter__(self) -> Transaction:
        return await self._session.manager.arun(self.begin())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.manager.arun(self.end(kind is not None))


def atomically(session: Owner, change: Callable[[Transaction], T]) -> Flow[T]:
    """Runs *change* in a transaction until it does not collide; returns its result."""

    def attempt() -> Flow[T]:
        atomic = Atomic(session)
        transaction = yield from atomic.begin()
        try:
            result = change(transaction)
        except BaseException:
            yield from atomic.end(failed=True)
            raise
        yield from atomic.end(failed=False)
        return result

    handle = session.fields.state.current.handle
    return session.manager.queue.retry(handle, "", attempt)
