"""ASGI middleware, for Starlette, FastAPI and others.

::

    app = SessionMiddleware(app, manager)     # app.add_middleware(SessionMiddleware, manager=…)

    async def view(request):
        await request.session.aadd("visits", 1)

``scope["session"]`` is a pazzo.Session, of http and of WebSocket scopes. A WebSocket sets
no cookie after it was accepted: what would have to raises ResponseStartedError. Live
reads then see what other requests write, and a logout makes the next write raise
GoneError.

When the app raises and a cookie was to be set, such as a login's, the cookie goes out with
an empty 500 and the error goes on. Starlette's own page for a 500 is made outside of what
``add_middleware`` adds; around the whole app, as in the first line, it carries the cookie.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from .errors import PazzoError
from .http import Headers, Request, headers_of, respond
from .log import logger, trouble
from .manager import Manager
from .session import Session

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_STARTS = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))


def request_of(scope: Scope) -> Request:
    """Returns what a session needs to know of an ASGI request."""
    found: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.lower(), []).append(value.decode("latin-1"))

    def first(name: bytes) -> str:
        return found.get(name, [""])[0]

    return Request(
        tuple(found.get(b"cookie", ())),
        first(b"sec-fetch-mode"),
        first(b"sec-fetch-site"),
        first(b"sec-fetch-dest"),
    )


class SessionMiddleware:
    """Gives each request and WebSocket its session, as ``scope["session"]``."""

    def __init__(self, app: App, manager: Manager) -> None:
        self._app = app
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or isinstance(scope.get("session"), Session):
            await self._app(scope, receive, send)
            return
        response = _Response(self._manager.session(request_of(scope)), send)
        scope["session"] = response.session
        try:
            await self._app(scope, receive, response.send)
        except PazzoError as error:
            if response.started or scope["type"] != "http":
                raise
            await response.fail(error)
        except Exception:
            is_due = response.session.state.out.is_due
            if is_due and not response.started and scope["type"] == "http":
                await response.answer(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        finally:
            await response.end()


class _Response:
    """One response: the app's messages, with our headers."""

    def __init__(self, session: Session, send: Send) -> None:
        self.session = session
        self.started = False
        self._send = send

    async def send(self, message: Message) -> None:
        """Sends a message of the app's."""
        if message["type"] in _STARTS and not self.started:
            await self.session.asave()
            await self._begin(message)
        await self._send(message)

    async def _begin(self, message: Message) -> None:
        self.started = True
        session = self.session
        decision = await session.afinish()
        said = headers_of(session.manager.options, session.manager.keys, decision)
        headers: Headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in message.get("headers", ())
        ]
        headers = respond(headers, said, session.state.out.accessed)
        message["headers"] = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]

    async def fail(self, error: PazzoError) -> None:
        """Answers for an app that let an error through: its status and no body."""
        if error.status_code >= 500:
            logger.error("the request failed: %s", error)
        await self.answer(error.status_code)

    async def answer(self, status: int) -> None:
        """Sends a status and no body."""
        start: Message = {
            "type": "http.response.start",
            "status": int(status),
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"0")],
        }
        await self._begin(start)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": b""})

    async def end(self) -> None:
        """Saves what was changed in place after the response has started."""
        try:
            await self.session.asave()
        except PazzoError as error:
            trouble("cannot save the session", self.session.state.current.handle, error)
