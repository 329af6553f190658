"""The manager of the process, made from Django's settings."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from ..manager import Manager
from ..settings import read

_making = threading.Lock()


@lru_cache(maxsize=1)
def _manager() -> Manager:
    return read(settings).manager()


def get_manager() -> Manager:
    """Returns the manager that the settings describe; see pazzo.settings."""
    if not _manager.cache_info().currsize:
        with _making:
            return _manager()
    return _manager()


def _changed(*, setting: str, **_: Any) -> None:
    """Has tests that override settings get a manager of their own."""
    if setting.startswith(("PAZZO_", "SESSION_", "REDIS_", "SECRET_KEY")):
        _manager.cache_clear()


setting_changed.connect(_changed)
