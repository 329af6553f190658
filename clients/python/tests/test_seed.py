"""The old Pazzo's README runs on Python 3, with nothing changed but what Python 2 forces.

Its code is taken from the README itself (tests/data). ``print x`` becomes ``print(x)``, and
``bar`` and ``time``, which its snippets forget, are defined before them.
"""

from __future__ import annotations

import logging
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from django.test import Client
from django.test.utils import override_settings

from servers import Server

README = (Path(__file__).parent / "data" / "pazzo-sessions-readme.rst").read_text()
DJANGO, WSGI = README.split("Django configuration\n")[1].split("WSGI configuration\n")


def blocks(part: str) -> list[str]:
    """The indented blocks of a part, as Python 3."""
    found = re.findall(r"::\n\n((?:[\t ]+\S.*\n|\s*\n)+)", part)
    return [re.sub(r"print (.+)", r"print(\1)", dedent(block)) for block in found]


def dedent(block: str) -> str:
    return textwrap.dedent(block.expandtabs(4)).strip("\n") + "\n"


def key_settings(part: str) -> str:
    """The list of settings, which the README does not indent."""
    match = re.search(r"include::\n\n((?:[A-Z_]+ = .*\n)+)", part)
    assert match
    return match[1]


def run(code: str, **names: Any) -> dict[str, Any]:
    exec(compile(code, "readme", "exec"), names)
    return names


@pytest.fixture
def settings(server: Server) -> dict[str, Any]:
    """The README's settings, of both parts, on the test's own server."""
    required = next(block for block in blocks(DJANGO) if "SESSION_ENGINE" in block)
    found = run(required + key_settings(DJANGO))
    assert run(key_settings(WSGI)).items() <= found.items()
    names = {name: value for name, value in found.items() if name.isupper()}
    assert names["SESSION_SECRET_KEY"] == "secret"
    assert names["REDIS_SESSIONS_DB"] == 15
    return names | {"REDIS_SESSIONS_PORT": server.port}


def test_the_secret_string(capsys: pytest.CaptureFixture[str]) -> None:
    snippets = [b for part in (DJANGO, WSGI) for b in blocks(part) if "get_secret_string" in b]
    assert len(snippets) == 2
    for snippet in snippets:
        run(snippet)
    lines = capsys.readouterr().out.split()
    assert [len(line) for line in lines] == [64, 64]
    assert lines[0] != lines[1]


def test_django(settings: dict[str, Any], server: Server, caplog: Any) -> None:
    from django.conf import settings as ours

    assert settings["SESSION_ENGINE"] == "pazzo.sessions.django_session"
    named = re.search(r"``(django\.contrib\S+SessionMiddleware)`` is in", DJANGO)
    assert named
    middleware = [named[1], *ours.MIDDLEWARE[1:]]
    with (
        caplog.at_level(logging.WARNING, "pazzo"),
        override_settings(**settings, MIDDLEWARE=middleware, SESSION_COOKIE_SECURE=False),
    ):
        client = Client(SERVER_NAME="127.0.0.1")
        assert [client.get("/assign").content for _ in range(3)] == [b"1", b"2", b"3"]
        assert client.cookies["sessionid"]["domain"] == "127.0.0.1"
    assert "less than 32 bytes" in caplog.text  # a short key works, with a loud warning
    with server.client(db=15) as redis:
        assert redis.keys("pazzo:*")


@pytest.fixture
def modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in ("settings", "app"):
        if name not in before:
            sys.modules.pop(name, None)


def test_wsgi_with_flask(
    settings: dict[str, Any], modules: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up = next(block for block in blocks(WSGI) if "StoreRegistry(" in block)
    view = next(block for block in blocks(WSGI) if "hello_world" in block)
    prelude = "import time\nbar = 'bar'\n"
    module = types.ModuleType("app")
    exec(compile(prelude + view, "app", "exec"), module.__dict__)
    sys.modules["app"] = module
    sys.modules["settings"] = types.ModuleType("settings")
    sys.modules["settings"].__dict__.update(settings)
    monkeypatch.setattr(flask.Flask, "run", lambda self, debug: None)
    run(set_up, __name__="__main__")

    from pazzo.sessions.wsgi_session import Session

    app = module.app

    @app.route("/foo")
    def foo() -> str:
        return str(Session(flask.request.environ).get("foo"))

    client = app.test_client()
    base = "http://127.0.0.1"
    assert client.get("/foo", base_url=base).text == "None"
    response = client.get("/", base_url=base)
    assert response.text == "hello world"
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("sessionid=")
    assert "Domain=127.0.0.1" in cookie
    assert client.get("/foo", base_url=base).text == "bar"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "redis://localhost:6379/0?prefix=pazzo%3A"),
        ({"REDIS_SESSIONS_PASSWORD": "p/w"}, "redis://:p%2Fw@localhost:6379/0?prefix=pazzo%3A"),
        ({"REDIS_SESSIONS_URL": "redis://h/1"}, "redis://h/1"),
        (
            {"REDIS_SESSIONS_UNIX_DOMAIN_SOCKET_PATH": "/r.sock", "REDIS_SESSIONS_PREFIX": "x:"},
            "unix:///r.sock?prefix=x%3A&db=0",
        ),
    ],
)
def test_old_settings(settings: dict[str, Any], url: str) -> None:
    from pazzo.settings import read
    from pazzo.url import parse

    names = {"SESSION_SECRET_KEY": "k" * 20, "SESSION_KEY_SALT": "s" * 20} | settings
    names["SESSION_WSGI_ENVIRON_NAME"] = "my.session"
    configuration = read(types.SimpleNamespace(**names))
    assert configuration.url == url
    parse(url)
    assert configuration.environ_key == "my.session"
    assert configuration.options.secret_keys == ("k" * 20 + "s" * 20,)
    assert configuration.options.checked().timeouts.idle == 14 * 24 * 3600


def test_a_registry_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from pazzo import OptionsError
    from pazzo.sessions.middleware.wsgi_session_middleware import SessionMiddleware
    from pazzo.sessions.stores.store_registry import StoreRegistry

    monkeypatch.setattr(StoreRegistry, "_manager", None)
    with pytest.raises(OptionsError, match="StoreRegistry"):
        SessionMiddleware(lambda environ, start: [])({}, lambda *_: None)
    with pytest.raises(OptionsError, match="SESSION_SECRET_KEY"):
        StoreRegistry(settings=types.SimpleNamespace())
