"""Has what holds locks or connections begin anew in the child of a fork."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What does not survive a fork as it is."""

    def forked(self) -> None:
        """Is called in the child, where no other thread runs yet."""


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()


def renew_after_fork(what: Forkable) -> None:
    """Has ``what.forked()`` called in every child."""
    _known.add(what)


def _after_fork() -> None:
    for what in list(_known):
        what.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_after_fork)
