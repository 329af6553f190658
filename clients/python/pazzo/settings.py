"""Reads a settings module: Django's, or one of the old Pazzo's for WSGI.

===============================  =====================================================
PAZZO_STORE, REDIS_SESSIONS_URL  the store's URL (pazzo.url); without one:
REDIS_SESSIONS_HOST, _PORT, _DB  ``localhost``, 6379, 0, of Redis or of an agent
REDIS_SESSIONS_PASSWORD          its password
REDIS_SESSIONS_UNIX_DOMAIN_SOCKET_PATH  a socket in place of host and port
REDIS_SESSIONS_PREFIX            of all keys; ``pazzo:``
REDIS_POOL_MAX_CONNECTIONS       per process; 20
PAZZO_SECRET_KEYS                texts; the first signs, all verify
SESSION_SECRET_KEY               one text. In Django, SECRET_KEY and SECRET_KEY_FALLBACKS
                                 if there is neither
SESSION_KEY_SALT                 is put behind SESSION_SECRET_KEY; other apps, such as Go's,
                                 are given both as one text
SESSION_COOKIE_NAME, _DOMAIN, _PATH, _SECURE, _HTTPONLY, _SAMESITE   as in Django
SESSION_COOKIE_AGE               the idle timeout in seconds; two weeks
SESSION_EXPIRE_AT_BROWSER_CLOSE  whether the cookie ends with the browser
SESSION_WSGI_ENVIRON_NAME        the key in the WSGI environ
PAZZO_OPTIONS                    a dict of further members of pazzo.Options
===============================  =====================================================
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from .errors import OptionsError
from .manager import Manager
from .options import AAL1, Cookie, Options, Timeouts
from .url import DEFAULT_PREFIX
from .wsgi import ENVIRON_KEY

_TWO_WEEKS: Final = 14 * 24 * 3600


class Configuration(NamedTuple):
    """What a settings module says."""

    url: str
    options: Options
    environ_key: str

    def manager(self) -> Manager:
        """Makes the manager."""
        return Manager(self.url, self.options)


def read(settings: Any) -> Configuration:
    """Reads a settings module, or any object with such attributes.

    OptionsError is raised when there is no secret key, or PAZZO_OPTIONS has a member that
    is none of pazzo.Options.
    """
    age = _get(settings, "SESSION_COOKIE_AGE", _TWO_WEEKS)
    secure = bool(_get(settings, "SESSION_COOKIE_SECURE", False))
    options: dict[str, Any] = {
        "secret_keys": _secret_keys(settings),
        "cookie": Cookie(
            name=_get(settings, "SESSION_COOKIE_NAME", "sessionid"),
            domain=_get(settings, "SESSION_COOKIE_DOMAIN", None) or "",
            path=_get(settings, "SESSION_COOKIE_PATH", "/"),
            same_site=_same_site(_get(settings, "SESSION_COOKIE_SAMESITE", "Lax")),
            persistent=not _get(settings, "SESSION_EXPIRE_AT_BROWSER_CLOSE", False),
            http_only=bool(_get(settings, "SESSION_COOKIE_HTTPONLY", True)),
        ),
        "timeouts": Timeouts(age, max(age, AAL1.absolute)),
        "max_connections": _get(settings, "REDIS_POOL_MAX_CONNECTIONS", 20),
        "insecure_http": not secure,
        "insecure_short_key": True,  # as the seed's 'secret'; the manager warns
    }
    options |= _get(settings, "PAZZO_OPTIONS", {})
    try:
        made = Options(**options)
    except TypeError as error:
        raise OptionsError(f"PAZZO_OPTIONS: {error}") from None
    return Configuration(
        _url(settings), made, _get(settings, "SESSION_WSGI_ENVIRON_NAME", ENVIRON_KEY)
    )


def _get(settings: Any, name: str, default: Any) -> Any:
    return getattr(settings, name, default)


def _secret_keys(settings: Any) -> tuple[str, ...]:
    keys = _get(settings, "PAZZO_SECRET_KEYS", None)
    if keys:
        return tuple(keys)
    key = _get(settings, "SESSION_SECRET_KEY", None)
    if key:
        return (key + _get(settings, "SESSION_KEY_SALT", ""),)
    key = _get(settings, "SECRET_KEY", None)
    if key:
        return (key, *_get(settings, "SECRET_KEY_FALLBACKS", ()))
    raise OptionsError("SESSION_SECRET_KEY is not set; get_secret_string(64) makes one")


def _same_site(value: Any) -> Any:
    """Django's False means no attribute, which browsers take for Lax."""
    return value or "Lax"


def _url(settings: Any) -> str:
    for name in ("PAZZO_STORE", "REDIS_SESSIONS_URL"):
        url = _get(settings, name, None)
        if url:
            return str(url)
    password = _get(settings, "REDIS_SESSIONS_PASSWORD", None)
    user = f":{quote(password, safe='')}@" if password else ""
    db = _get(settings, "REDIS_SESSIONS_DB", 0)
    parameters = {"prefix": _get(settings, "REDIS_SESSIONS_PREFIX", DEFAULT_PREFIX)}
    socket = _get(settings, "REDIS_SESSIONS_UNIX_DOMAIN_SOCKET_PATH", None)
    if socket:
        return f"unix://{user}{socket}?{urlencode(parameters | {'db': db})}"
    host = _get(settings, "REDIS_SESSIONS_HOST", "localhost")
    port = _get(settings, "REDIS_SESSIONS_PORT", 6379)
    return f"redis://{user}{host}:{port}/{db}?{urlencode(parameters)}"
