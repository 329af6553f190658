"""``app.wsgi_app = SessionMiddleware(app.wsgi_app)``, after a StoreRegistry was made."""

from __future__ import annotations

from collections.abc import Iterable

from ... import wsgi
from ..stores.store_registry import StoreRegistry


class SessionMiddleware:
    """Is pazzo.wsgi.SessionMiddleware with the registry's manager."""

    def __init__(self, app: wsgi.App) -> None:
        self._app = app
        self._middleware: wsgi.SessionMiddleware | None = None

    def __call__(
        self, environ: wsgi.Environ, start_response: wsgi.StartResponse
    ) -> Iterable[bytes]:
        if self._middleware is None:  # the registry may be made after the middleware
            manager, key = StoreRegistry.manager(), StoreRegistry.environ_key()
            self._middleware = wsgi.SessionMiddleware(self._app, manager, key)
        return self._middleware(environ, start_response)
