"""``StoreRegistry(settings=settings)`` sets up the process's sessions for WSGI."""

from __future__ import annotations

from typing import Any, ClassVar

from ...errors import OptionsError
from ...manager import Manager
from ...settings import Configuration, read


class StoreRegistry:
    """Remembers what a settings module says. Make one before the first request."""

    _configuration: ClassVar[Configuration | None] = None
    _manager: ClassVar[Manager | None] = None

    def __init__(self, settings: Any) -> None:
        """Reads the settings (see pazzo.settings); OptionsError if they are invalid."""
        configuration = read(settings)
        StoreRegistry._manager = configuration.manager()
        StoreRegistry._configuration = configuration

    @classmethod
    def manager(cls) -> Manager:
        """Returns the manager; OptionsError if no registry was made."""
        if cls._manager is None:
            raise OptionsError("no StoreRegistry(settings=…) was made before the first request")
        return cls._manager

    @classmethod
    def environ_key(cls) -> str:
        """Returns the key of the session in the WSGI environ."""
        if cls._configuration is None:
            raise OptionsError("no StoreRegistry(settings=…) was made before the first request")
        return cls._configuration.environ_key
