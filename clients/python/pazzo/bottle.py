"""A plugin for Bottle.

::

    app = bottle.Bottle()
    app.install(SessionPlugin(manager))

    @app.route("/")
    def index(session):
        return f"visit {session.add('visits', 1)}"

A route whose function has a parameter of the *keyword*'s name gets the session; any code
gets it by ``bottle.request.environ["pazzo.session"]``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from bottle import Bottle, HTTPResponse, Route, request, response

from .errors import PazzoError
from .http import Headers, headers_of, respond
from .log import logger
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
                except HTTPResponse as raised:  # a redirect, an abort
                    result = raised
                session.save()
            except PazzoError as error:
                if error.status_code >= 500:
                    logger.error("the request failed: %s", error)
                result = HTTPResponse("", error.status_code)
            _add_headers(session, result if isinstance(result, HTTPResponse) else response)
            return result

        return wrapper


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
