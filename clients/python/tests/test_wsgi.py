"""WSGI middleware and Bottle, through wsgiref's validator."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import bottle
import pytest

import pazzo
from pazzo import Manager
from pazzo.bottle import SessionPlugin
from pazzo.wsgi import App, SessionMiddleware, session_of
from scenarios import Get, Stream, check_down
from servers import Server

Headers = list[tuple[str, str]]


class Client:
    """A browser with a cookie jar of one."""

    def __init__(self, app: App) -> None:
        self.app = validator(app)  # type: ignore[arg-type]
        self.cookie = ""
        self.headers: Headers = []
        self.status = ""

    def get(self, path: str = "/", **environ: str) -> str:
        env: dict[str, Any] = {"SCRIPT_NAME": "", "PATH_INFO": path.partition("?")[0], **environ}
        env["QUERY_STRING"] = path.partition("?")[2]
        if self.cookie:
            env["HTTP_COOKIE"] = self.cookie
        env.setdefault("HTTP_SEC_FETCH_MODE", "cors")
        setup_testing_defaults(env)

        def start(status: str, headers: Headers, *_: Any) -> Callable[[bytes], object]:
            self.status, self.headers = status, headers
            return io.BytesIO().write

        body = self.app(env, start)  # type: ignore[arg-type]
        try:
            text = b"".join(body).decode()
        finally:
            body.close()  # type: ignore[attr-defined]
        for name, value in self.headers:
            if name == "Set-Cookie":
                self.cookie = value.partition(";")[0]
        return text

    def header(self, name: str) -> list[str]:
        return [value for n, value in self.headers if n == name]


def plain(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    session = session_of(environ)
    if path == "/logout":
        session.destroy()
    elif path == "/cart":
        session.setdefault("cart", []).append(len(session["cart"]))
    elif path == "/fail":
        session.add("text" if session.setdefault("text", "x") else "")
    text = "static" if path == "/static" else str(session.get("n", 0))
    if path == "/inc":
        text = str(session.add("n"))
    if path == "/file":
        start("200 OK", [("Content-Type", "text/plain")])
        return FileWrapper(io.BytesIO(b"a file"))
    start("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "public")])
    if path == "/stream":
        return stream(session)
    return [text.encode()]


def stream(session: pazzo.Session) -> Iterable[bytes]:
    for _ in range(3):
        yield str(session.add("streamed")).encode()
        session.setdefault("late", []).append(1)


@pytest.fixture
def client(manager: Manager) -> Client:
    return Client(SessionMiddleware(plain, manager))


def test_a_visit(client: Client) -> None:
    assert client.get("/") == "0"
    assert client.header("Set-Cookie") == []
    assert client.header("Vary") == ["Cookie"]
    assert client.header("Cache-Control") == ["public"]
    assert client.get("/inc") == "1"
    assert len(client.header("Set-Cookie")) == 1
    assert client.header("Cache-Control") == ["no-store"]
    assert client.get("/inc") == "2"
    assert client.header("Set-Cookie") == []
    assert client.get("/file") == "a file"
    client.get("/cart")
    client.get("/cart")
    assert client.get("/logout") == "0"
    assert "Max-Age=0" in client.header("Set-Cookie")[0]


def test_streaming(client: Client, manager: Manager) -> None:
    client.get("/inc")
    assert client.get("/stream") == "123"
    token = client.cookie.partition("=")[2]
    assert manager.acquire(token)["late"] == [1, 1, 1]  # saved when the body was closed


def test_an_error_becomes_its_status(client: Client, manager: Manager) -> None:
    assert client.get("/fail") == ""
    assert client.status == "400 Bad Request"
    assert client.header("Set-Cookie")  # the session was made all the same
    manager.acquire(client.cookie.partition("=")[2]).destroy()
    assert client.get("/inc") == ""
    assert client.status == "409 Conflict"
    assert client.header("Set-Cookie") == []
    assert client.get("/") == "0"
    assert client.get("/inc", HTTP_SEC_FETCH_MODE="navigate") == "1"


def test_an_app_that_is_a_generator(manager: Manager) -> None:
    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        n = session_of(environ).add("n")
        if environ["PATH_INFO"] == "/bad":
            session_of(environ)["x"] = object()
        start("200 OK", [("Content-Type", "text/plain")])
        yield str(n).encode()

    client = Client(SessionMiddleware(app, manager))
    assert client.get() == "1"
    assert client.get() == "2"
    assert client.get("/bad") == ""
    assert client.status == "400 Bad Request"


def test_an_app_that_starts_twice(manager: Manager) -> None:
    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        session_of(environ).authenticate("ann")
        start("200 OK", [("Content-Type", "text/plain")])
        try:
            raise RuntimeError
        except RuntimeError:
            import sys

            start("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"x"]

    client = Client(SessionMiddleware(app, manager))
    client.get()
    assert client.status == "500 Oops"
    token = client.cookie.partition("=")[2]  # a login's cookie goes out with any status
    assert manager.acquire(token).user == "ann"


def test_installed_twice_and_not_at_all(manager: Manager) -> None:
    client = Client(SessionMiddleware(SessionMiddleware(plain, manager), manager))
    assert client.get("/inc") == "1"
    assert len(client.header("Set-Cookie")) == 1
    with pytest.raises(pazzo.NoSessionError):
        session_of({})


@pytest.fixture
def bottle_client(manager: Manager) -> Client:
    app = bottle.Bottle()
    app.config["catchall"] = False
    app.install(SessionPlugin(manager))

    @app.route("/inc")
    def inc(session: pazzo.Session) -> str:
        return str(session.add("n"))

    @app.route("/none")
    def none() -> str:
        return "none"

    @app.route("/cart")
    def cart(session: pazzo.Session) -> str:
        session.setdefault("cart", []).append(1)
        return str(len(session["cart"]))

    @app.route("/login")
    def login(session: pazzo.Session) -> None:
        session.authenticate("ann")
        bottle.redirect("/")

    @app.route("/abort")
    def abort() -> None:
        session_of(bottle.request.environ)["x"] = 1
        bottle.abort(500, "no")

    @app.route("/response")
    def response(session: pazzo.Session) -> bottle.HTTPResponse:
        session["x"] = 1
        return bottle.HTTPResponse("own", 201)

    return Client(app)


def test_bottle(bottle_client: Client, manager: Manager) -> None:
    client = bottle_client
    assert client.get("/none") == "none"
    assert client.header("Vary") == []
    assert client.get("/inc") == "1"
    assert client.header("Cache-Control") == ["no-store"]
    assert client.get("/inc") == "2"
    assert client.header("Set-Cookie") == []
    assert client.header("Vary") == ["Cookie"]
    assert [client.get("/cart") for _ in range(2)] == ["1", "2"]
    client.get("/login")
    assert client.status.startswith("30")
    assert manager.acquire(client.cookie.partition("=")[2]).user == "ann"
    assert client.get("/response") == "own"
    manager.revoke_all("ann")
    assert client.get("/inc") == ""
    assert client.status == "409 Conflict"
    client.cookie = ""
    client.get("/abort")
    assert client.status.startswith("500")
    assert len(client.header("Set-Cookie")) == 1


def bottle_app(manager: Manager) -> bottle.Bottle:
    app = bottle.Bottle()
    app.install(SessionPlugin(manager))
    return app


def test_bottle_streams(manager: Manager) -> None:
    app, stream = bottle_app(manager), Stream()

    @app.route("/events")
    def events(session: pazzo.Session) -> Iterable[str]:
        bottle.response.content_type = "text/event-stream"
        session.add("n")
        session["late"] = []
        yield from stream.events(session)
        session["late"].append(1)

    token = stream.check(app, manager)
    assert manager.acquire(token)["late"] == [1]  # saved when it had ended


def test_a_bottle_generator_that_fails(manager: Manager) -> None:
    app = bottle_app(manager)

    @app.route("/gone")
    def gone(session: pazzo.Session) -> Iterable[str]:
        session.add("n")
        yield str(session.add("text"))

    @app.route("/redirect")
    def redirect(session: pazzo.Session) -> Iterable[str]:
        session.authenticate("ann")
        bottle.redirect("/")
        yield "never"

    @app.route("/empty")
    def empty(session: pazzo.Session) -> Iterable[str]:
        session["text"] = "x"
        yield from ()

    client = Client(app)
    assert client.get("/empty") == ""
    assert len(client.header("Set-Cookie")) == 1
    assert client.get("/gone") == ""
    assert client.status == "400 Bad Request"
    assert client.get("/redirect") == ""
    assert client.status.startswith("30")
    assert manager.acquire(client.cookie.partition("=")[2]).user == "ann"


def test_a_logins_cookie_goes_out_with_bottles_500(manager: Manager) -> None:
    app = bottle_app(manager)

    @app.route("/crash")
    def crash(session: pazzo.Session) -> None:
        session.authenticate("bob")
        raise RuntimeError("on purpose")

    @app.error(500)
    def page(error: bottle.HTTPError) -> str:
        return f"our page: {error.exception}"

    client = Client(app)
    assert client.get("/crash") == "our page: on purpose"
    assert client.status.startswith("500")
    assert manager.acquire(client.cookie.partition("=")[2]).user == "bob"
    app.config["catchall"] = False
    with pytest.raises(RuntimeError, match="on purpose"):
        client.get("/crash")


def test_bottle_with_a_store_that_is_down(
    own_server: Server, make: Callable[..., pazzo.Manager]
) -> None:
    def start(url: str) -> Get:
        app = bottle_app(make(url))

        @app.route("/inc")
        def inc(session: pazzo.Session) -> str:
            return str(session.add("n"))

        client = Client(app)

        def get() -> tuple[int, str, list[str]]:
            body = client.get("/inc")
            return int(client.status[:3]), body, client.header("Set-Cookie")

        return get

    check_down(own_server, start)
