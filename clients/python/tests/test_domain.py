"""The old Pazzo's promise: several frameworks on one domain, one session, nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bottle
import flask
import pytest
from django.test import Client
from django.test.utils import override_settings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from conftest import KEY
from pazzo import Manager, Session
from pazzo.asgi import SessionMiddleware as AsgiMiddleware
from pazzo.bottle import SessionPlugin
from pazzo.flask import Pazzo
from pazzo.wsgi import SessionMiddleware, session_of

Get = Callable[[str, str], tuple[int, str]]  # path, token → status, text
FETCH = {"Sec-Fetch-Mode": "cors"}


def answer(session: Session, path: str) -> str:
    if path == "/inc":
        return str(session.add("n"))
    if path == "/logout":
        session.destroy()
    return session.user


def django_app() -> Get:
    def get(path: str, token: str) -> tuple[int, str]:
        client = Client(headers=FETCH)
        client.cookies["session"] = token
        response = client.get({"/logout": "/log_out"}.get(path, path))
        return response.status_code, response.content.decode()

    return get


def flask_app(manager: Manager) -> Get:
    app = flask.Flask("app")
    Pazzo(app, manager)

    @app.get("/<path:path>")
    def view(path: str) -> str:
        return answer(flask.session, f"/{path}")  # type: ignore[arg-type]

    def get(path: str, token: str) -> tuple[int, str]:
        client = app.test_client(use_cookies=False)
        response = client.get(path, headers={"Cookie": f"session={token}", **FETCH})
        return response.status_code, response.text

    return get


def wsgi_get(app: Any) -> Get:
    def get(path: str, token: str) -> tuple[int, str]:
        seen: list[str] = []
        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": path, "HTTP_COOKIE": f"session={token}",
            "HTTP_SEC_FETCH_MODE": "cors", "SERVER_NAME": "x", "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
        }  # fmt: skip
        body = app(environ, lambda status, headers, *_: seen.append(status))
        return int(seen[0].split()[0]), b"".join(body).decode()

    return get


def bottle_app(manager: Manager) -> Get:
    app = bottle.Bottle()
    app.install(SessionPlugin(manager))

    @app.route("/<path>")
    def view(path: str, session: Session) -> str:
        return answer(session, f"/{path}")

    return wsgi_get(app)


def wsgi_app(manager: Manager) -> Get:
    def view(environ: dict[str, Any], start: Any) -> list[bytes]:
        text = answer(session_of(environ), environ["PATH_INFO"])
        start("200 OK", [("Content-Type", "text/plain")])
        return [text.encode()]

    return wsgi_get(SessionMiddleware(view, manager))


def asgi_app(manager: Manager) -> Get:
    async def inc(request: Request) -> Response:
        return PlainTextResponse(str(await request.session.aadd("n")))  # type: ignore[attr-defined]

    def other(request: Request) -> Response:
        return PlainTextResponse(answer(request.session, request.url.path))  # type: ignore[arg-type]

    routes = [Route("/inc", inc), Route("/{path}", other)]
    app = Starlette(routes=routes, middleware=[Middleware(AsgiMiddleware, manager=manager)])

    def get(path: str, token: str) -> tuple[int, str]:
        client = TestClient(app, headers={"Cookie": f"session={token}", **FETCH})
        response = client.get(path)
        return response.status_code, response.text

    return get


@pytest.fixture
def manager(make: Callable[..., Manager]) -> Manager:
    return make(insecure_http=True)


@pytest.fixture
def apps(manager: Manager, url: str, django_db: None) -> Iterator[dict[str, Get]]:
    from django.contrib.auth.models import User

    User.objects.get_or_create(username="eve")
    settings = {"SESSION_COOKIE_NAME": "session", "SESSION_COOKIE_SECURE": False}
    with override_settings(PAZZO_STORE=url, SESSION_SECRET_KEY=KEY, **settings):
        yield {
            "django": django_app(),
            "flask": flask_app(manager),
            "bottle": bottle_app(manager),
            "wsgi": wsgi_app(manager),
            "asgi": asgi_app(manager),
        }


def test_a_storm(apps: dict[str, Get], manager: Manager) -> None:
    session = manager.acquire()
    session["made"] = True
    gets = list(apps.values())
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda i: gets[i % 5]("/inc", session.token), range(250)))
    assert [status for status, _ in answers] == [200] * 250
    assert sorted(int(text) for _, text in answers) == list(range(1, 251))
    assert session["n"] == 250


def test_login_in_one_and_logout_in_another(apps: dict[str, Get], manager: Manager) -> None:
    from django.contrib.auth import SESSION_KEY
    from django.contrib.auth.models import User

    user = User.objects.get(username="eve")
    session = manager.acquire()
    session["n"] = 0
    old = session.token
    client = Client(headers=FETCH)
    client.cookies["session"] = old
    client.force_login(user)
    token = client.cookies["session"].value
    assert token != old
    assert manager.acquire(token)[SESSION_KEY] == str(user.pk)
    for name, get in apps.items():
        assert get("/inc", token)[0] == 200, name
        assert get("/inc", old)[0] == 409, name  # the old token is dead
        seen = "eve" if name == "django" else str(user.pk)
        assert get("/me", token) == (200, seen), name
    assert apps["flask"]("/logout", token)[0] == 200
    for name, get in apps.items():
        assert get("/inc", token)[0] == 409, name  # and nothing comes back
        assert get("/me", token) == (200, ""), name
    assert manager.sessions(str(user.pk)) == []
