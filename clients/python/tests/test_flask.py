from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import pazzo
import pazzo.token
from pazzo import Manager
from pazzo.flask import FlaskSession, Pazzo, PazzoSessionInterface
from scenarios import Stream

FETCH = {"Sec-Fetch-Mode": "cors"}


def session() -> FlaskSession:
    assert isinstance(flask.session._get_current_object(), FlaskSession)  # type: ignore[attr-defined]
    return flask.session  # type: ignore[return-value]


def make_app(manager: Manager, **config: Any) -> flask.Flask:
    app = flask.Flask("app")
    app.config.update(config)
    Pazzo(app, manager)

    @app.get("/inc")
    def inc() -> str:
        return str(session().add("n"))

    @app.get("/get")
    def get() -> str:
        return str(flask.session.get("n", 0))

    @app.get("/cart")
    def cart() -> str:
        flask.session.setdefault("cart", []).append(1)
        return str(len(flask.session["cart"]))

    @app.get("/race")
    def race() -> str:
        flask.session["cart"].append("mine")
        manager.acquire(session().token)["cart"] = ["theirs"]
        return "never seen"

    @app.get("/login")
    def login() -> str:
        session().authenticate("ann")
        return "in"

    @app.get("/regenerate")
    def regenerate() -> str:
        interface = flask.current_app.session_interface
        assert isinstance(interface, PazzoSessionInterface)
        interface.regenerate(session())
        return ""

    @app.get("/logout")
    def logout() -> str:
        session().destroy()
        return ""

    @app.get("/clear")
    def clear() -> str:
        flask.session.clear()
        return ""

    @app.get("/permanent")
    def permanent() -> str:
        flask.session["x"] = 1
        flask.session.permanent = True
        return ""

    @app.get("/state")
    def state() -> dict[str, bool]:
        s = session()
        before = s.new, s.modified
        s["n"] = 1
        return {"before": any(before), "new": s.new, "modified": s.modified}

    @app.get("/crash")
    def crash() -> str:
        session().authenticate("bob")
        raise RuntimeError

    return app


def cookies(response: TestResponse) -> list[str]:
    return response.headers.getlist("Set-Cookie")


@pytest.fixture
def manager(make: Callable[..., Manager]) -> Manager:
    return make(insecure_http=True)


@pytest.fixture
def client(manager: Manager) -> FlaskClient:
    client = make_app(manager).test_client()
    client.environ_base["HTTP_SEC_FETCH_MODE"] = "cors"
    return client


def token_of(client: FlaskClient, name: str = "session") -> str:
    cookie = client.get_cookie(name)
    return cookie.value if cookie else ""


def test_what_the_response_varies_by_already(manager: Manager) -> None:
    app = make_app(manager)

    @app.get("/varied")
    def varied() -> flask.Response:
        flask.session.get("n")
        return flask.Response(headers={"Vary": "Accept"})

    assert app.test_client().get("/varied").headers["Vary"] == "Accept, Cookie"


def test_a_visit(client: FlaskClient) -> None:
    response = client.get("/get")
    assert (response.text, cookies(response)) == ("0", [])
    assert response.headers["Vary"] == "Cookie"
    response = client.get("/inc")
    assert response.text == "1"
    assert cookies(response) == [f"session={token_of(client)}; HttpOnly; Path=/; SameSite=Lax"]
    assert response.headers["Cache-Control"] == "no-store"
    response = client.get("/inc")
    assert (response.text, cookies(response)) == ("2", [])
    assert [client.get("/cart").text for _ in range(2)] == ["1", "2"]


def test_login_regenerate_logout(client: FlaskClient, manager: Manager) -> None:
    client.get("/inc")
    first = token_of(client)
    client.get("/regenerate")
    second = token_of(client)
    client.get("/login")
    third = token_of(client)
    assert len({first, second, third}) == 3
    assert manager.acquire(third).user == "ann"
    client.set_cookie("session", second)
    assert client.get("/inc").status_code == 409
    assert client.get("/get").text == "0"
    client.set_cookie("session", third)
    assert client.get("/inc").text == "2"
    response = client.get("/logout")
    assert "Max-Age=0" in cookies(response)[0]
    client.set_cookie("session", third)
    response = client.get("/inc")
    assert (response.status_code, cookies(response)) == (409, [])


def test_a_logins_cookie_survives_a_crash(client: FlaskClient, manager: Manager) -> None:
    assert client.get("/crash").status_code == 500
    assert manager.acquire(token_of(client)).user == "bob"


def test_streams(manager: Manager) -> None:
    app, stream = make_app(manager), Stream()

    @app.get("/events")
    def events() -> flask.Response:
        session().add("n")
        body = flask.stream_with_context(stream.events(flask.session))
        return flask.Response(body, mimetype="text/event-stream")

    stream.check(app, manager)


def test_a_stale_change_in_place(client: FlaskClient, manager: Manager) -> None:
    client.get("/cart")
    response = client.get("/race")
    assert (response.status_code, response.data) == (409, b"")
    assert manager.acquire(token_of(client))["cart"] == ["theirs"]


def test_an_emptied_session_goes(client: FlaskClient, manager: Manager) -> None:
    client.get("/inc")
    token = token_of(client)
    response = client.get("/clear")
    assert "Max-Age=0" in cookies(response)[0]
    assert manager.acquire(token).info() is None
    assert cookies(client.get("/clear")) == []


def test_permanent(client: FlaskClient, manager: Manager) -> None:
    response = client.get("/permanent")
    assert "Expires=" in cookies(response)[0]
    info = manager.acquire(token_of(client)).info()
    assert info is not None
    assert info.idle == timedelta(days=31)
    assert "Expires=" in cookies(client.get("/get"))[0]  # with each request
    client.application.config["SESSION_REFRESH_EACH_REQUEST"] = False
    assert cookies(client.get("/get")) == []


def test_flasks_attributes(client: FlaskClient) -> None:
    assert client.get("/state").json == {"before": False, "new": True, "modified": True}
    assert client.get("/state").json == {"before": False, "new": False, "modified": True}


def test_the_cookie_is_safe_unless_told_otherwise(make: Callable[..., Manager]) -> None:
    client = make_app(make()).test_client()
    response = client.get("/inc", base_url="https://localhost")
    assert cookies(response)[0].startswith("__Host-session=")
    assert "; Secure;" in cookies(response)[0]


def test_flasks_settings_hold(manager: Manager) -> None:
    app = make_app(
        manager,
        SESSION_COOKIE_NAME="sid",
        SESSION_COOKIE_PATH="/inc",
        SESSION_COOKIE_DOMAIN="localhost",
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_PARTITIONED=True,
    )
    cookie = cookies(app.test_client().get("/inc"))[0]
    attributes = set(cookie.split("; ")[1:])
    assert cookie.startswith("sid=")
    assert attributes == {
        "Domain=localhost", "Path=/inc", "SameSite=Strict", "Secure", "Partitioned",
    }  # fmt: skip


def test_a_store_that_is_down(make: Callable[..., Manager]) -> None:
    manager = make("redis://127.0.0.1:1", insecure_http=True)
    client = make_app(manager).test_client()
    client.set_cookie("session", manager.keys.seal(pazzo.token.Token(bytes(16), 1, bytes(16))))
    for path in ("/get", "/inc"):
        response = client.get(path)
        assert (response.status_code, response.data, cookies(response)) == (503, b"", [])


def test_the_test_clients_transaction(client: FlaskClient) -> None:
    with client.session_transaction() as s:
        s["n"] = 41
    assert client.get("/inc").text == "42"
