"""The middleware, in place of Django's own, whose races it mends.

- A request with a token from before a login, or of a session that has ended, neither sets
  nor deletes the cookie: with Django's, its response would delete the new login's.
- A login's cookie goes out with a 5xx response, too: with Django's, the old key is dead
  then and the new one was never sent.
- A rotation of SECRET_KEY does not change the key on plain requests (see engine.py).

GoneError, SupersededError and other errors of the package that a view lets through become
a response with their status (409, 503, …) and an empty body.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers

from ..errors import PazzoError
from ..http import NOTHING, Decision, clear_site_data, max_age
from ..log import logger
from ..wsgi import request_of
from .config import get_manager
from .engine import SessionStore


class SessionMiddleware(DjangoMiddleware):
    """Gives each request its session. The store is not asked before the first use."""

    def process_request(self, request: HttpRequest) -> None:
        """Is called before the view."""
        key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        request.session = SessionStore(key, request_of(request.META))

    def process_response(  # type: ignore[override]
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Is called after the view, on a thread."""
        session = _store_of(request)
        if session is None:
            return response
        manager = get_manager()
        try:
            manager.run(session.end())
        except PazzoError as error:
            response = _answer(error)
        return self._say(session, manager.run(session.finish()), response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        self.process_request(request)
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        session = _store_of(request)
        if session is None:
            return response
        manager = get_manager()
        try:
            await manager.arun(session.end())
        except PazzoError as error:
            response = _answer(error)
        decision = await manager.arun(session.finish())
        return self._say(session, decision, response)

    def process_exception(self, _: HttpRequest, error: Exception) -> HttpResponse | None:
        """Is called when a view raises."""
        return _answer(error) if isinstance(error, PazzoError) else None

    @staticmethod
    def _say(
        session: SessionStore, decision: Decision, response: HttpResponseBase
    ) -> HttpResponseBase:
        if decision != NOTHING:
            _set_cookie(decision, response)
        elif not session.accessed:
            return response
        if "Vary" in response:
            patch_vary_headers(response, ("Cookie",))
        else:  # as that would, but for the parsing
            response.headers["Vary"] = "Cookie"
        return response


def _set_cookie(decision: Decision, response: HttpResponseBase) -> None:
    attributes: dict[str, Any] = {
        "path": settings.SESSION_COOKIE_PATH,
        "domain": settings.SESSION_COOKIE_DOMAIN,
        "samesite": settings.SESSION_COOKIE_SAMESITE,
    }
    name = settings.SESSION_COOKIE_NAME
    manager = get_manager()
    if decision.forget:
        response.delete_cookie(name, **attributes)
    elif decision.offer is not None:
        closes = decision.offer.browser_close or not manager.options.cookie.persistent
        response.set_cookie(
            name,
            manager.keys.seal(decision.offer.token),
            max_age=None if closes else max_age(decision.offer),
            secure=settings.SESSION_COOKIE_SECURE or False,
            httponly=settings.SESSION_COOKIE_HTTPONLY or False,
            **attributes,
        )
    response.headers["Cache-Control"] = "no-store"
    for header, value in clear_site_data(manager.options, decision):
        response.headers[header] = value


def _store_of(request: HttpRequest) -> SessionStore | None:
    """Returns the request's session, unless a view has put something else there."""
    session = getattr(request, "session", None)
    return session if isinstance(session, SessionStore) else None


def _answer(error: PazzoError) -> HttpResponse:
    if error.status_code >= 500:
        logger.error("the request failed: %s", error)
    return HttpResponse(status=error.status_code)
