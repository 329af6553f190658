from __future__ import annotations

import logging
from typing import Any

import pytest

from pazzo import Cookie, Limits, Manager, Options, OptionsError, Timeouts

KEY = "k" * 32


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"secret_keys": ()}, "secret_keys"),
        ({"secret_keys": "x" * 32}, "secret_keys"),
        ({"secret_keys": (KEY, "short")}, r"secret_keys\[1\]"),
        ({"secret_keys": ("",), "insecure_short_key": True}, r"secret_keys\[0\]"),
        ({"timeouts": Timeouts(0, 60)}, "timeouts.idle"),
        ({"timeouts": Timeouts(60, 30)}, "timeouts.idle"),
        ({"timeouts": Timeouts(60, 1e12)}, "timeouts.absolute"),
        ({"rotate_every": 5}, "rotate_every"),
        ({"rotate_grace": 0}, "rotate_grace"),
        ({"keep_tombstones": 0}, "keep_tombstones"),
        ({"max_per_user": 0}, "max_per_user"),
        ({"max_connections": 0}, "max_connections"),
        ({"limits": Limits(name=257)}, "limits.name"),
        ({"reads": "once"}, "reads"),
        ({"when_full": "x"}, "when_full"),
        ({"stale_fields": "x"}, "stale_fields"),
        ({"cookie": Cookie(name="a b")}, "cookie.name"),
        ({"cookie": Cookie(name="__Host-x", path="/a")}, "cookie.name"),
        ({"cookie": Cookie(path="a")}, "cookie.path"),
        ({"cookie": Cookie(path="/;")}, "cookie.path"),
        ({"cookie": Cookie(domain="a b")}, "cookie.domain"),
        ({"cookie": Cookie(same_site="x")}, "cookie.same_site"),  # type: ignore[arg-type]
        ({"cookie": Cookie(name="__Secure-x"), "insecure_http": True}, "cookie.name"),
        ({"cookie": Cookie(same_site="None"), "insecure_http": True}, "cookie.same_site"),
    ],
)
def test_wrong_options_are_named(options: Any, named: str) -> None:
    with pytest.raises(OptionsError, match=named):
        Options(**({"secret_keys": (KEY,)} | options)).checked()


def test_all_of_them_are_named() -> None:
    with pytest.raises(OptionsError, match=r"secret_keys[\s\S]*rotate_every[\s\S]*cookie.path"):
        Options(rotate_every=1, cookie=Cookie(path="x")).checked()


def test_secret_keys_are_not_shown() -> None:
    assert KEY not in repr(Options(secret_keys=(KEY,)))


def test_danger_is_loud(caplog: pytest.LogCaptureFixture) -> None:
    options = Options(secret_keys=("secret",), insecure_http=True, insecure_short_key=True)
    with caplog.at_level(logging.WARNING, "pazzo"):
        Manager("redis://localhost", options)
    assert [record.message.split(":")[0] for record in caplog.records] == ["INSECURE"] * 2
