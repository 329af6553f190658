"""The fields of a session: reads in both modes, writes, and what was changed in place.

All methods are flows. Texts are JSON; names are checked with the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import batch as b
from . import values
from .batch import Batch, Condition, Op
from .errors import ConflictError, StaleFieldError
from .flow import Flow
from .login import Login
from .state import RequestState
from .tracking import Tracker
from .wire import Reply, Value

MISSING: Any = object()
UNKNOWN: Any = object()
_GET_ALL = Batch((b.get_all(),))
_REMOVES = frozenset((b.DELETE, b.POP, b.DRAIN, b.CLEAR))


class Fields:
    """What one request reads and writes of its session's fields."""

    def __init__(self, state: RequestState) -> None:
        self.state = state
        self._snapshots = state.manager.options.reads == "request"
        self._tracked = Tracker(state.current.handle)
        self._snapshot: dict[str, bytes] | None = None
        self._of: tuple[bool, bytes] | None = None  # what the snapshot is of
        self._unknown: set[str] = set()  # written, and not known what they hold now
        self._writes = 0
        self.has_written = False
        self.has_removed = False

    @property
    def _tracker(self) -> Tracker:
        """The values in the app's hands; those of another session are nobody's to save."""
        handle = self.state.current.handle
        if self._tracked.handle != handle:
            self._tracked = Tracker(handle)
        return self._tracked

    # Reads.

    def loaded(self, name: str) -> Any:
        """Returns what :meth:`get` would, if no store is to be asked; else UNKNOWN."""
        snapshot = self._snapshot
        if snapshot is None or name in self._unknown or self._of != self._session():
            return UNKNOWN
        tracker = self._tracker
        pending = tracker.pending(name)
        if pending is not None:
            return pending
        text = snapshot.get(name)
        return MISSING if text is None else tracker.value(name, text)

    def get(self, name: str) -> Flow[Any]:
        """Returns a field's value, or MISSING."""
        pending = self._tracker.pending(name)
        if pending is not None:
            return pending
        text = yield from self.text(name) if self._snapshots else self.state.text(name)
        return MISSING if text is None else self._tracker.value(name, text)

    def text(self, name: str) -> Flow[bytes | None]:
        """Returns a field's text."""
        if self._snapshots:
            snapshot = yield from self._load_once()
            if name not in self._unknown:
                return snapshot.get(name)
        return (yield from self.fresh(name))

    def get_many(self, names: Sequence[str]) -> Flow[dict[str, Any]]:
        """Returns the values of several fields, those that are there, read at once."""
        if self._snapshots:
            texts = yield from self.texts()
            found = {name: texts[name] for name in names if name in texts}
        else:
            reply = yield from self.state.do(Batch([b.get(name) for name in names]))
            pairs = zip(names, reply.values, strict=True)
            found = {name: value.text for name, value in pairs if value.found}
        return {name: values.decode(name, text) for name, text in found.items()}

    def fresh(self, name: str) -> Flow[bytes | None]:
        """Returns a field's text, from the store in any mode."""
        return self.state.text(name)

    def texts(self) -> Flow[dict[str, bytes]]:
        """Returns all fields' texts, at one point in time."""
        if self._snapshots and not self._unknown:
            return dict((yield from self._load_once()))
        reply = yield from self.load()
        return reply.fields

    def all(self) -> Flow[dict[str, Any]]:
        """Returns all fields' values."""
        texts = yield from self.texts()
        found = {}
        for name, text in texts.items():
            pending = self._tracker.pending(name)
            found[name] = self._tracker.value(name, text) if pending is None else pending
        return found

    def load(self) -> Flow[Reply]:
        """Reads all fields and the revision from the store."""
        return self.state.do(_GET_ALL)

    def _load_once(self) -> Flow[dict[str, bytes]]:
        while self._snapshot is None or self._of != self._session():
            writes = self._writes
            reply = yield from self.load()
            if writes == self._writes:  # else another thread has written meanwhile
                self._snapshot, self._of = reply.fields, self._session()
                self._unknown.clear()
        return self._snapshot

    def _session(self) -> tuple[bool, bytes]:
        return self.state.live, self.state.current.handle

    # Writes.

    def set(self, name: str, value: Any) -> Flow[None]:
        """Gives a field a value."""
        text = values.encode(name, value)
        yield from self._write((b.set_(name, text),))
        self._wrote(name, text)
        self._tracker.wrote(name, text, value)

    def set_many(self, new: Mapping[str, Any]) -> Flow[None]:
        """Gives several fields their values, at once."""
        texts = {name: values.encode(name, value) for name, value in new.items()}
        yield from self._write([b.set_(name, text) for name, text in texts.items()])
        for name, value in new.items():
            self._wrote(name, texts[name])
            self._tracker.wrote(name, texts[name], value)

    def set_if_absent(self, name: str, value: Any) -> Flow[tuple[Any, bool]]:
        """Gives a field a value unless it has one; returns the one it has, and whether."""
        pending = self._tracker.pending(name)
        if pending is not None:
            return pending, False
        text = values.encode(name, value)
        before = yield from self._write_one(b.set_if_absent(name, text))
        if before.found:
            self._wrote(name, before.text)
            return self._tracker.value(name, before.text), False
        self._wrote(name, text)
        self._tracker.wrote(name, text, value)
        return value, True

    def delete(self, names: Iterable[str]) -> Flow[bool]:
        """Removes fields, at once; tells whether one was there."""
        removed = list(dict.fromkeys(names))
        reply = yield from self._write([b.delete(name) for name in removed])
        self._removed(removed)
        return any(value.found for value in reply.values)

    def pop(self, name: str) -> Flow[Any]:
        """Removes a field and returns its value, or MISSING: of several, one finds it."""
        pending = self._tracker.pending(name)
        before = yield from self._write_one(b.pop(name))
        self._removed([name])
        if not before.found:
            return MISSING
        return values.decode(name, before.text) if pending is None else pending

    def add(self, name: str, number: int) -> Flow[int]:
        """Adds to an integer and returns the sum."""
        total = yield from self._write_one(b.add(name, number))
        self._tracker.forget(name)
        self._wrote(name, total.text)
        return int(total.text)

    def append(self, name: str, value: Any) -> Flow[None]:
        """Adds a value at the end of a list."""
        yield from self.save(name)
        yield from self._write_one(b.append(name, values.encode(name, value)))
        self._wrote(name, None)

    def drain(self, name: str) -> Flow[list[Any]]:
        """Empties a list and returns it: each value goes to one caller."""
        yield from self.save(name)
        before = yield from self._write_one(b.drain(name))
        self._removed([name])
        if not before.found:
            return []
        drained: list[Any] = values.decode(name, before.text)
        return drained

    def clear(self) -> Flow[None]:
        """Removes all fields."""
        yield from self._write([b.clear()])
        self.forget_all()

    def update(self, name: str, change: Callable[[Any], Any], missing: Any) -> Flow[Any]:
        """Gives a field the value that *change* makes of its present one, and returns it."""
        yield from self.save(name)

        def attempt() -> Flow[Any]:
            text = yield from self.fresh(name)
            old = missing if text is None else values.decode(name, text)
            value = change(old)
            new = values.encode(name, value)
            yield from self._write([b.set_(name, new)], [b.field_is(name, text)])
            self._wrote(name, new)
            self._tracker.wrote(name, new, value)
            return value

        handle = self.state.current.handle
        return (yield from self.state.manager.queue.retry(handle, name, attempt))

    def commit(self, ops: list[Op], conditions: list[Condition]) -> Flow[None]:
        """Applies the writes of a transaction."""
        try:
            yield from self._write(ops, conditions)
        finally:
            for op in ops:
                if op.name is None:
                    self._tracker.clear()
                else:
                    self._tracker.forget(op.name)
            self.invalidate()

    def _write_one(self, op: Op) -> Flow[Value]:
        reply = yield from self._write([op])
        return reply.values[0]

    def _write(self, ops: Sequence[Op], conditions: Sequence[Condition] = ()) -> Flow[Reply]:
        self._writes += 1
        self.has_written = True
        reply = yield from self.state.do(Batch(ops, conditions))
        if not self.has_removed:
            self.has_removed = not _REMOVES.isdisjoint([op.kind for op in ops])
        return reply

    def _wrote(self, name: str, text: bytes | None) -> None:
        if self._snapshot is None:
            return
        if text is None:
            self._unknown.add(name)
        else:
            self._unknown.discard(name)
            self._snapshot[name] = text

    def _removed(self, names: Iterable[str]) -> None:
        for name in names:
            self._tracker.forget(name)
            self._unknown.discard(name)
            if self._snapshot is not None:
                self._snapshot.pop(name, None)

    def authenticate(self, user: str) -> Flow[None]:
        """Logs a user in. Over another user, what was read belongs to nobody any more."""
        yield from Login(self.state, user).run()
        self.invalidate()

    def forget_all(self) -> None:
        """Takes in that the session has ended: nothing of it is to be saved."""
        self._tracker.clear()
        self.invalidate()

    def invalidate(self) -> None:
        """Has the next read in ``request`` mode load the session again."""
        self._snapshot = None
        self._writes += 1

    # What was changed in place.

    def save(self, name: str | None = None) -> Flow[None]:
        """Writes the values that were changed in place, each field on its own, or one's.

        StaleFieldError names those that somebody else has written since they were read.
        """
        stale = []
        overwrite = self.state.manager.options.stale_fields == "overwrite"
        for tracked, text in self._tracker.changed(name):
            conditions = () if overwrite else (b.field_is(tracked.name, tracked.text),)
            try:
                yield from self._write([b.set_(tracked.name, text)], conditions)
            except ConflictError:
                stale.append(tracked.name)
                self._tracker.forget(tracked.name)
                self.invalidate()
                continue
            self._wrote(tracked.name, text)
            tracked.saved(text)
        if stale:
            raise StaleFieldError(tuple(dict.fromkeys(stale)))
