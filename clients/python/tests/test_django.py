"""The engine and the middleware, in a small project (django_project.py)."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path

from scenarios import Stream
from servers import Server

STOCK = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "pazzo.django.SessionMiddleware"


@pytest.fixture(scope="module", autouse=True)
def users(django_db: None) -> None:
    from django.contrib.auth.models import User

    for name in ("ann", "bob"):
        User.objects.create_user(name, password="pass")
    User.objects.create_superuser("root", password="pass")


@pytest.fixture(autouse=True)
def store(url: str) -> Iterator[None]:
    with override_settings(PAZZO_STORE=url):
        yield


@pytest.fixture(params=["live", "request"], autouse=True)
def reads(request: pytest.FixtureRequest, store: None) -> Iterator[None]:
    with override_settings(PAZZO_OPTIONS={"reads": request.param, "best_effort_users": True}):
        yield


@pytest.fixture(params=[OURS, STOCK])
def middleware(request: pytest.FixtureRequest) -> Iterator[str]:
    from django.conf import settings

    with override_settings(MIDDLEWARE=[request.param, *settings.MIDDLEWARE[1:]]):
        yield request.param


def browser() -> Client:
    return Client(headers={"Sec-Fetch-Mode": "cors"})


def manager() -> Any:
    from pazzo.django import get_manager

    return get_manager()


def token_of(client: Any) -> str:
    cookie = client.cookies.get("sessionid")
    return cookie.value if cookie else ""


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return response.content.decode()


def test_a_visit(middleware: str) -> None:
    client = browser()
    response = client.get("/untouched")
    assert "Vary" not in response.headers
    response = client.get("/get")
    assert (response.content, response.cookies) == (b"0", {})
    assert response.headers["Vary"] == "Cookie"
    assert text(client, "/assign") == "1"
    assert token_of(client)
    assert text(client, "/assign") == "2"
    assert [text(client, "/cart") for _ in range(2)] == ["1", "2"]


def test_what_the_response_varies_by_already(store: None) -> None:
    from pazzo.django import SessionMiddleware

    def view(request: HttpRequest) -> HttpResponse:
        request.session.get("n")
        return HttpResponse(headers={"Vary": "Accept"})

    request = HttpRequest()
    request.META.update(SERVER_NAME="localhost", SERVER_PORT="80")
    assert SessionMiddleware(view)(request).headers["Vary"] == "Accept, Cookie"


def test_a_login_half_written_is_read_back(store: None) -> None:
    from pazzo.django import SessionStore

    session = SessionStore()
    session["a"] = 1
    assert session["a"] == 1
    session["_auth_user_id"] = "7"
    assert session["_auth_user_id"] == "7"


def test_login_and_logout(middleware: str) -> None:
    client = browser()
    text(client, "/assign")
    before = token_of(client)
    text(client, "/log_in?user=ann")
    after = token_of(client)
    assert after != before
    assert text(client, "/get") == "1"
    assert text(client, "/me") == "ann"
    session = manager().acquire(after)
    assert session.user == "1"  # so that other frameworks see who is logged in
    assert len(manager().sessions("1")) == 1
    text(client, "/log_in?user=bob")
    assert text(client, "/get") == "0"
    assert text(client, "/me") == "bob"
    assert manager().sessions("1") == []
    assert text(client, "/password") == ""
    assert text(client, "/me") == "bob"
    last = token_of(client)
    text(client, "/log_out")
    assert text(client, "/me") == ""
    assert manager().acquire(last).info() is None


def test_a_late_read_does_not_delete_the_new_cookie() -> None:
    client = browser()
    text(client, "/assign")
    old = token_of(client)
    text(client, "/log_in?user=ann")
    client.cookies["sessionid"] = old
    response = client.get("/get")
    assert (response.content, response.cookies) == (b"0", {})
    response = client.get("/assign")
    assert (response.status_code, response.content, response.cookies) == (409, b"", {})


def test_a_login_with_a_superseded_token_begins_anew() -> None:
    client = browser()
    text(client, "/assign")
    old = token_of(client)
    text(client, "/log_in?user=ann")
    first = token_of(client)
    client.cookies["sessionid"] = old  # the first response was lost
    text(client, "/log_in?user=ann")
    assert token_of(client) not in (old, first)
    assert text(client, "/me") == "ann"
    assert len(manager().sessions("1")) == 2


def test_a_late_write_does_not_bring_a_session_back() -> None:
    client = browser()
    text(client, "/assign")
    token = token_of(client)
    text(client, "/log_out")
    client.cookies["sessionid"] = token
    response = client.get("/inc")
    assert (response.status_code, response.cookies) == (409, {})
    assert text(client, "/get") == "0"


def test_a_logins_cookie_goes_out_with_a_500() -> None:
    client = browser()
    assert client.get("/log_in?user=ann&status=500").status_code == 500
    assert text(client, "/me") == "ann"


def test_new_secret_keys_log_nobody_out() -> None:
    client = browser()
    text(client, "/log_in?user=ann")
    token = token_of(client)
    with override_settings(
        SECRET_KEY="another key, of 32 bytes or more too",
        SECRET_KEY_FALLBACKS=["django's key, which has 32 bytes or more"],
        SESSION_SECRET_KEY="django's key, which has 32 bytes or more",
    ):
        for _ in range(2):
            assert text(client, "/me") == "ann"
            assert token_of(client) == token
    # The hash has been written anew, so that the fallback is needed no longer.
    with override_settings(
        SECRET_KEY="another key, of 32 bytes or more too",
        SESSION_SECRET_KEY="django's key, which has 32 bytes or more",
    ):
        assert text(client, "/me") == "ann"


def test_a_stale_change_in_place() -> None:
    client = browser()
    text(client, "/cart")
    response = client.get("/race")
    assert (response.status_code, response.content) == (409, b"")
    assert manager().acquire(token_of(client))["cart"] == ["theirs"]


def test_expiry() -> None:
    client = browser()
    text(client, "/expire?seconds=0")
    assert client.cookies["sessionid"]["max-age"] == ""
    text(client, "/expire?seconds=300")
    info = manager().acquire(token_of(client)).info()
    assert info.idle == dt.timedelta(seconds=300)
    client = browser()
    text(client, "/assign")
    assert client.cookies["sessionid"]["max-age"] == 30 * 24 * 3600
    assert client.cookies["sessionid"]["secure"]


def test_save_every_request() -> None:
    client = browser()
    text(client, "/assign")
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        assert "sessionid" in client.get("/get").cookies
    assert client.get("/get").cookies == {}


def test_async_views() -> None:
    async def visit() -> None:
        client = AsyncClient(headers={"Sec-Fetch-Mode": "cors"})
        for n in range(1, 4):
            response = await client.get("/ainc")
            assert response.content.decode() == str(n)
        assert await manager().acquire(token_of(client)).aget("cart") == [1, 1, 1]

    asyncio.run(visit())


def test_a_store_that_is_down(own_server: Server) -> None:
    with override_settings(PAZZO_STORE=own_server.url):
        client = browser()
        text(client, "/assign")
        own_server.stop()
        for path in ("/get", "/assign"):
            response = client.get(path)
            assert (response.status_code, response.cookies) == (503, {})


def test_streams(middleware: str) -> None:
    stream = Stream()

    def events(request: HttpRequest) -> StreamingHttpResponse:
        session: Any = request.session
        session["n"] = 1
        body = stream.events(session.pazzo)
        return StreamingHttpResponse(body, content_type="text/event-stream")

    with override_settings(ROOT_URLCONF=(path("events", events),)):
        stream.check(WSGIHandler(), manager())


# The engine by itself, as Django's own middleware and test client use it.


def make(key: str | None = None) -> Any:
    from pazzo.django import SessionStore

    return SessionStore(key)


def test_the_engine_is_lazy(own_server: Server) -> None:
    own_server.stop()
    with override_settings(PAZZO_STORE=own_server.url):
        store = make("x" * 64)
        assert not store.accessed
        assert not store.modified
        assert store.is_empty() is False


def test_save_knows_what_has_ended() -> None:
    store = make()
    store["a"] = 1
    with pytest.raises(CreateError):
        make(store.session_key).save(must_create=True)
    other = make(store.session_key)
    assert other["a"] == 1
    make(store.session_key).delete()
    for dead in (store, other):
        dead["a"] = 2
        with pytest.raises(UpdateError):
            dead.save()
        assert dead.load() == {}


def test_the_fields_of_auth_move_together(server: Server) -> None:
    store = make()
    store["_auth_user_id"] = "7"
    assert store["_auth_user_id"] == "7"
    assert store.session_key is None  # nothing is written before the last of them
    store["_auth_user_backend"] = "b"
    store["_auth_user_hash"] = "h"
    assert manager().acquire(store.session_key).user == "7"
    fields = {"_auth_user_hash": "i", "_auth_user_backend": "b", "_auth_user_id": "8", "x": 1}
    other = make()
    other.update(fields)
    assert make(other.session_key).load() == fields
    assert manager().acquire(other.session_key).user == "8"
    reader = make(store.session_key)
    assert reader["_auth_user_id"] == "7"
    manager().acquire(store.session_key)["_auth_user_hash"] = "other"
    assert reader["_auth_user_hash"] == "h"  # they are held for the request


def test_only_what_differs_is_written() -> None:
    store = make()
    store.update({"cart": [1], "other": 1})
    one = make(store.session_key)
    one["cart"].append(2)
    make(store.session_key)["other"] = 2
    one.save()
    assert make(store.session_key).load() == {"cart": [1, 2], "other": 2}


def test_values_that_json_lacks() -> None:
    store = make()
    store["when"] = dt.date(2026, 11, 24)
    assert make(store.session_key)["when"] == dt.date(2026, 11, 24)
    with pytest.raises(TypeError, match="'x'"):
        store["x"] = object()


def test_clearsessions_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pazzo"):
        call_command("clearsessions")
    assert "nothing to clear" in caplog.text


# System checks and the admin.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.db"}, ["pazzo.E001"]),
        ({"PAZZO_OPTIONS": {"nonsense": 1}}, ["pazzo.E002"]),
        ({"PAZZO_OPTIONS": {"reads": "x"}}, ["pazzo.E002"]),
        ({"PAZZO_STORE": "memory:"}, ["pazzo.E003"]),
        ({"SESSION_SECRET_KEY": "secret"}, ["pazzo.W001"]),
        ({"MIDDLEWARE": [STOCK]}, ["pazzo.W002"]),
        ({"MIDDLEWARE": [STOCK, OURS]}, ["pazzo.E005"]),
        (
            {"MIDDLEWARE": [STOCK], "PAZZO_OPTIONS": {"create_on_navigation": True}},
            ["pazzo.E004", "pazzo.W002"],
        ),
        ({"SESSION_SERIALIZER": "x.Pickle"}, ["pazzo.W003"]),
        (
            {"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_SECURE": False},
            ["pazzo.E002", "pazzo.E006"],
        ),
    ],
)
def test_checks(settings: dict[str, Any], expected: list[str]) -> None:
    from pazzo.django.checks import check_settings

    with override_settings(**settings):
        messages = check_settings(None)
    assert [message.id for message in messages] == expected
    for name in settings if expected else ():
        assert any(name in message.msg for message in messages), name


def test_the_admin_page() -> None:
    from django.contrib.auth.models import User

    ann = browser()
    text(ann, "/log_in?user=ann")
    other = browser()
    text(other, "/log_in?user=ann")
    bob = browser()
    text(bob, "/log_in?user=bob")
    root = browser()
    text(root, "/log_in?user=root")
    pk = User.objects.get(username="ann").pk
    page = f"/admin/auth/user/{pk}/sessions/"
    assert page in text(root, f"/admin/auth/user/{pk}/change/")
    handle = manager().acquire(token_of(ann)).handle
    assert handle in text(root, page)
    assert ann.get(page).status_code == 302  # to the login page
    assert root.post(page, {"handle": handle}).status_code == 302
    assert handle not in text(root, page)
    assert text(ann, "/me") == ""
    assert text(other, "/me") == "ann"
    theirs = manager().acquire(token_of(bob)).handle
    assert root.post(page, {"handle": theirs}).status_code == 404
    assert root.post(page).status_code == 302
    assert "No session is open" in text(root, page)
    assert text(bob, "/me") == "bob"
