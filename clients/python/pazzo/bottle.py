"""A plugin for Bottle.

::

    app = bottle.Bottle()
    app.install(SessionPlugin(manager))

    @app.route("/")
    def index(session):
        return f"visit {session.add('visits', 1)}"

A route whose function has a parameter of the *keyword*'s name gets the session; any code
gets it by ``bottle.request.environ["pazzo.session"]``.

A function that is a generator may set the cookie before its first chunk. Values that were
changed in place are saved before the response starts, and again when a generator ends. A
cookie that was to be set, such as a login's, goes out with Bottle's page for an exception.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator
from traceback import format_exc
from typing import Any

from bottle import Bottle, BottleException, HTTPError, HTTPResponse, Route, request, response

from .errors import PazzoError
from .http import Headers, headers_of, respond
from .log import logger, trouble
from .manager import Manager
from .session import Session
from .wsgi import ENVIRON_KEY, request_of


class SessionPlugin:
    """Gives each request of a Bottle app its session."""

    name = "pazzo"
    api = 2

    def __init__(self, manager: Manager, keyword: str = "session") -> None:
        self._manager = manager
        self._keyword = keyword

    def setup(self, app: Bottle) -> None:
        """Is called by Bottle."""

    def apply(self, callback: Callable[..., Any], route: Route) -> Callable[..., Any]:
        """Is called by Bottle, for each route."""
        wanted = self._keyword in inspect.signature(route.callback).parameters

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            session = self._manager.session(request_of(request.environ))
            request.environ[ENVIRON_KEY] = session
            if wanted:
                kwargs[self._keyword] = session
            try:
                try:
                    result = callback(*args, **kwargs)
                    if isinstance(result, Generator):
                        result = _streamed(session, next(result, ""), result)
                except HTTPResponse as raised:  # a redirect, an abort
                    result = raised
                session.save()
            except PazzoError as error:
                if error.status_code >= 500:
                    logger.error("the request failed: %s", error)
                result = HTTPResponse("", error.status_code)
            except Exception as error:
                if not (route.app.catchall and session.state.out.is_due) or isinstance(
                    error, BottleException
                ):
                    raise
                request.environ["wsgi.errors"].write(trace := format_exc())  # as Bottle does
                result = HTTPError(500, "Internal Server Error", error, trace)
            _add_headers(session, result if isinstance(result, HTTPResponse) else response)
            return result

        return wrapper


def _streamed(session: Session, first: Any, rest: Generator[Any, None, None]) -> Iterator[Any]:
    """Gives a generator's chunks. Saves what was changed in place while it ran."""
    try:
        yield first
        yield from rest
    finally:
        try:
            session.save()
        except PazzoError as error:  # the response is over
            trouble("cannot save the session", session.state.current.handle, error)


def _add_headers(session: Session, target: Any) -> None:
    said = headers_of(session.manager.options, session.manager.keys, session.finish())
    before: Headers = list(target.headerlist)
    merged = respond(before, said, session.state.out.accessed)
    for name, _ in said:
        if name != "Set-Cookie":
            target.headers.pop(name, None)
    for name, value in merged:
        if (name, value) not in before:
            target.add_header(name, value)
