"""Sessions for Django.

::

    INSTALLED_APPS = [..., "pazzo.django"]            # system checks
    SESSION_ENGINE = "pazzo.django"
    SESSION_SECRET_KEY = "..."                        # the same in all apps
    PAZZO_STORE = "redis://localhost:6379/0"
    MIDDLEWARE = [..., "pazzo.django.SessionMiddleware", ...]   # in place of Django's

The engine works with Django's own SessionMiddleware, too, but some races then remain: see
pazzo.django.middleware. ``request.session`` is Django's session; ``request.session.pazzo``
is the pazzo.Session beneath, with ``add``, ``update_field``, ``atomic`` and the rest.

``request.session.session_key`` is the whole token, which is a secret;
``request.session.pazzo.handle`` is the name to log or to store.
"""

from __future__ import annotations

from .config import get_manager
from .engine import SessionStore
from .middleware import SessionMiddleware

__all__ = ["SessionMiddleware", "SessionStore", "get_manager"]
