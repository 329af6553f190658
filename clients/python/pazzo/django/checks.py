"""System checks: each names the setting that is wrong, and what it should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error

from ..errors import OptionsError
from ..options import Options
from ..settings import read
from ..url import parse

_ENGINES = ("pazzo.django", "pazzo.sessions.django_session")
_STOCK = "django.contrib.sessions.middleware.SessionMiddleware"
_OURS = "pazzo.django.SessionMiddleware"
_JSON = "django.contrib.sessions.serializers.JSONSerializer"
_KEYS = "PAZZO_SECRET_KEYS, SESSION_SECRET_KEY or SECRET_KEY"


def check_settings(app_configs: Any, **_: Any) -> Sequence[CheckMessage]:  # noqa: ARG001 - by name
    """Checks the settings that concern sessions."""
    if settings.SESSION_ENGINE not in _ENGINES:
        return [
            Error(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, so that sessions are not Pazzo's.",
                hint='Set SESSION_ENGINE = "pazzo.django".',
                id="pazzo.E001",
            )
        ]
    return [*_check_configuration(), *_check_surroundings()]


def _check_configuration() -> Iterator[CheckMessage]:
    try:
        configuration = read(settings)
        options = configuration.options.checked()
    except OptionsError as error:
        yield Error(
            f"PAZZO_OPTIONS, SESSION_COOKIE_* or {_KEYS} is wrong: {error}", id="pazzo.E002"
        )
        return
    try:
        parse(configuration.url)
    except OptionsError as error:
        yield Error(
            f"PAZZO_STORE, or what REDIS_SESSIONS_* make of it, is wrong: {error}", id="pazzo.E003"
        )
    yield from _check_options(options)


def _check_options(options: Options) -> Iterator[CheckMessage]:
    short = [len(key.encode()) for key in options.secret_keys if len(key.encode()) < 32]
    if short:
        yield checks.Warning(
            f"{_KEYS} has {short[0]} bytes: whoever guesses it can forge tokens.",
            hint="Use at least 32 bytes; pazzo.utils.get_secret_string(64) makes them.",
            id="pazzo.W001",
        )
    if options.create_on_navigation and _OURS not in settings.MIDDLEWARE:
        yield Error(
            "PAZZO_OPTIONS has create_on_navigation, which needs our middleware.",
            hint=f"Put {_OURS!r} into MIDDLEWARE.",
            id="pazzo.E004",
        )


def _check_surroundings() -> Iterator[CheckMessage]:
    if _STOCK in settings.MIDDLEWARE and _OURS in settings.MIDDLEWARE:
        yield Error(
            "MIDDLEWARE has Django's SessionMiddleware and ours.",
            hint=f"Remove {_STOCK!r}.",
            id="pazzo.E005",
        )
    elif _STOCK in settings.MIDDLEWARE:
        yield checks.Warning(
            "MIDDLEWARE has Django's SessionMiddleware: a slow response can delete the cookie of "
            "a login that happens meanwhile.",
            hint=f"Put {_OURS!r} in its place.",
            id="pazzo.W002",
        )
    if settings.SESSION_SERIALIZER != _JSON:
        yield checks.Warning(
            f"SESSION_SERIALIZER is {settings.SESSION_SERIALIZER!r}, which is not used: sessions "
            "are JSON, so that every language reads them.",
            hint="Remove SESSION_SERIALIZER.",
            id="pazzo.W003",
        )
    lower = settings.SESSION_COOKIE_NAME.lower()
    if lower.startswith(("__host-", "__secure-")) and not settings.SESSION_COOKIE_SECURE:
        yield Error(
            f"SESSION_COOKIE_NAME {settings.SESSION_COOKIE_NAME!r} needs SESSION_COOKIE_SECURE.",
            hint="Set SESSION_COOKIE_SECURE = True.",
            id="pazzo.E006",
        )
