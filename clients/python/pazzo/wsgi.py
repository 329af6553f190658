"""WSGI middleware.

::

    app = SessionMiddleware(app, manager)

    def view(environ):
        session = session_of(environ)
        session.add("visits", 1)

An error of this package that the app lets through, such as GoneError, becomes a response
with its status and an empty body, if none has started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from .errors import NoSessionError, PazzoError
from .http import Headers, Request, headers_of, respond
from .log import logger, trouble
from .manager import Manager
from .session import Session

ENVIRON_KEY: Final = "pazzo.session"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


def request_of(environ: Environ) -> Request:
    """Returns what a session needs to know of a WSGI request."""
    cookie = environ.get("HTTP_COOKIE", "")
    return Request(
        (cookie,) if cookie else (),
        environ.get("HTTP_SEC_FETCH_MODE", ""),
        environ.get("HTTP_SEC_FETCH_SITE", ""),
        environ.get("HTTP_SEC_FETCH_DEST", ""),
    )


def session_of(environ: Environ, key: str = ENVIRON_KEY) -> Session:
    """Returns the session that the middleware has put there, or raises NoSessionError."""
    session = environ.get(key)
    if not isinstance(session, Session):
        raise NoSessionError("no session in the environ: the middleware is missing")
    return session


class SessionMiddleware:
    """Gives each request its session, under *key* in the environ.

    Values that were changed in place are saved when the response starts, and again when
    its body is closed.
    """

    def __init__(self, app: App, manager: Manager, key: str = ENVIRON_KEY) -> None:
        self._app = app
        self._manager = manager
        self._key = key

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if self._key in environ:  # it is installed twice
            return self._app(environ, start_response)
        session = self._manager.session(request_of(environ))
        environ[self._key] = session
        return _Response(self._app, environ, start_response, session)


class _Response:
    """One response: the app's, with our headers."""

    def __init__(
        self, app: App, environ: Environ, start_response: StartResponse, session: Session
    ) -> None:
        self._session = session
        self._start_response = start_response
        self._started = False
        self._said: Headers | None = None
        self._body: Iterable[bytes] = ()
        try:
            self._body = app(environ, self._start)
            self._chunks = iter(self._body)
        except PazzoError as error:
            self._chunks = self._failed(error)

    def _start(self, status: str, headers: Headers, *exc_info: Any) -> Any:
        self._session.save()
        return self._begin(status, headers, *exc_info)

    def _begin(self, status: str, headers: Headers, *exc_info: Any) -> Any:
        self._started = True
        session = self._session
        if self._said is None:  # an app that fails may start a second time
            decision = session.finish()
            self._said = headers_of(session.manager.options, session.manager.keys, decision)
        headers = respond(headers, self._said, session.state.out.accessed)
        return self._start_response(status, headers, *exc_info)

    def _failed(self, error: PazzoError) -> Iterator[bytes]:
        """Answers for an app that let an error through."""
        if self._started:
            raise error
        if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("the request failed: %s", error)
        status = HTTPStatus(error.status_code)
        self._begin(
            f"{status.value} {status.phrase}",
            [("Content-Type", "text/plain"), ("Content-Length", "0")],
        )
        return iter(())

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except PazzoError as error:
            self._chunks = self._failed(error)
            return next(self._chunks)

    def close(self) -> None:
        """Ends the response."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            try:
                self._session.save()
            except PazzoError as error:  # the response is over
                trouble("cannot save the session", self._session.state.current.handle, error)
