from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pazzo
from servers import Proxy, Server

KEY = "a secret key for tests of 32 bytes or more"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def url(server: Server) -> str:
    """A store of the test's own."""
    return f"{server.url}?prefix=t{secrets.token_hex(4)}:"


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., pazzo.Manager]]:
    made = []

    def make(store: str = url, **options: Any) -> pazzo.Manager:
        options.setdefault("secret_keys", (KEY,))
        made.append(pazzo.Manager(store, pazzo.Options(**options)))
        return made[-1]

    yield make
    for manager in made:
        manager.close()


@pytest.fixture
def manager(make: Callable[..., pazzo.Manager]) -> pazzo.Manager:
    return make()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def django_db() -> None:
    """Sets Django up, with its tables in memory."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def pytest_configure() -> None:
    """Configures Django before its test modules are imported."""
    import django
    from django.conf import settings

    from django_settings import SETTINGS

    settings.configure(**SETTINGS)
    django.setup()
