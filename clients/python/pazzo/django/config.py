"""The manager of the process, made from Django's settings."""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from ..manager import Manager
from ..settings import read

_making = threading.Lock()
_made: Manager | None = None


def get_manager() -> Manager:
    """Returns the manager that the settings describe; see pazzo.settings."""
    return _made or _make()


def _make() -> Manager:
    global _made
    with _making:
        made = _made = _made or read(settings).manager()
        return made


def _changed(*, setting: str, **_: Any) -> None:
    """Has tests that override settings get a manager of their own."""
    global _made
    if setting.startswith(("PAZZO_", "SESSION_", "REDIS_", "SECRET_KEY")):
        _made = None


setting_changed.connect(_changed)
