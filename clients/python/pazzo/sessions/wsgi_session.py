"""``session = Session(request.environ)``, behind the middleware."""

from __future__ import annotations

from .. import wsgi
from ..session import Session as _Session
from .stores.store_registry import StoreRegistry


def Session(environ: wsgi.Environ) -> _Session:  # noqa: N802 - the old name of a class
    """Returns the request's session; NoSessionError if the middleware is missing."""
    return wsgi.session_of(environ, StoreRegistry.environ_key())
