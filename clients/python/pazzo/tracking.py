"""Finds out which values a request has changed in place."""

from __future__ import annotations

from typing import Any

from .values import decode, encode, is_mutable


class Tracked:
    """A mutable value that the app has in its hands.

    ``text`` is what the field held, on which a save depends. ``_baseline`` is this
    encoder's own text of it: another language's may differ without any change.
    """

    __slots__ = ("_baseline", "name", "text", "value")

    def __init__(self, name: str, text: bytes, value: Any) -> None:
        self.name = name
        self.value = value
        self.saved(text)

    def changed(self) -> bytes | None:
        """Returns the new text if the value has been changed."""
        text = encode(self.name, self.value)
        return text if text != self._baseline else None

    def saved(self, text: bytes) -> None:
        """Takes in what the field holds now."""
        self.text = text
        self._baseline = encode(self.name, self.value)


class Tracker:
    """The mutable values of one session in one request."""

    def __init__(self, handle: bytes) -> None:
        self.handle = handle
        self._latest: dict[str, Tracked] = {}
        # Values that were read before the field was changed by somebody else. The app may
        # hold them still, and a change of one must not go unnoticed.
        self._former: list[Tracked] = []

    def pending(self, name: str) -> Any:
        """Returns the value of a field that has been changed in place, or None."""
        tracked = self._latest.get(name)
        if tracked is not None and tracked.changed() is not None:
            return tracked.value
        return None

    def value(self, name: str, text: bytes) -> Any:
        """Decodes what a field holds; the same object again if it has not changed."""
        tracked = self._latest.get(name)
        if tracked is not None:
            if tracked.text == text:
                return tracked.value
            self._former.append(self._latest.pop(name))
        value = decode(name, text)
        if is_mutable(value):
            self._latest[name] = Tracked(name, text, value)
        return value

    def wrote(self, name: str, text: bytes, value: Any) -> None:
        """Takes in an assignment, which stands for all that was changed before."""
        self.forget(name)
        if is_mutable(value):
            self._latest[name] = Tracked(name, text, value)

    def forget(self, name: str) -> None:
        """Drops a field that the request has removed or assigned."""
        self._latest.pop(name, None)
        if self._former:
            self._former = [tracked for tracked in self._former if tracked.name != name]

    def clear(self) -> None:
        """Drops all."""
        self._latest.clear()
        self._former.clear()

    def changed(self, name: str | None = None) -> list[tuple[Tracked, bytes]]:
        """Returns the values that have been changed in place, with their new texts."""
        if not self._latest and not self._former:
            return []
        wanted = [t for t in (*self._former, *self._latest.values()) if name in (None, t.name)]
        self._former = [tracked for tracked in self._former if tracked not in wanted]
        texts = [tracked.changed() for tracked in wanted]
        return [(t, text) for t, text in zip(wanted, texts, strict=True) if text is not None]
