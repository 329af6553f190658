"""Options. The default of every one but ``secret_keys`` is the safe one.

Durations are in seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from .batch import MAX_NAME, MAX_SESSIONS, MAX_TIMEOUT, Limits
from .errors import OptionsError
from .token import TOKEN_CHARS

_MIN_KEY: Final = 32
_MAX_COOKIE: Final = 4096  # bytes of name and value, ASVS 5.0 3.3.5
_LONGEST: Final = MAX_TIMEOUT / 1000
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ATTRIBUTE = re.compile(r"[ -:<-~]*")  # no control characters, no semicolon
_DOMAIN = re.compile(r"\.?[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?")

SameSite = Literal["Lax", "Strict", "None"]


class Timeouts(NamedTuple):
    """How long a session lasts, in seconds.

    Activity is recorded at most once per tenth of ``idle``, so that a session may end
    after 0.9 of it. ``absolute`` is the time in all, whatever the activity.
    """

    idle: float
    absolute: float


# NIST SP 800-63B-4, section 2, for its authentication assurance levels.
AAL1: Final = Timeouts(30 * 24 * 3600, 30 * 24 * 3600)
AAL2: Final = Timeouts(3600, 24 * 3600)
AAL3: Final = Timeouts(15 * 60, 12 * 3600)


@dataclass(frozen=True)
class Cookie:
    """The cookie. It is Secure but for ``Options.insecure_http``.

    ``name`` is ``__Host-session`` by default, ``__Secure-session`` with a domain or
    another path, and ``session`` with ``insecure_http``. ``persistent`` keeps it over a
    restart of the browser, at most 400 days. ``http_only`` exists for sites that have
    switched it off already: scripts can then read the token.
    """

    name: str = ""
    domain: str = ""
    path: str = "/"
    same_site: SameSite = "Lax"
    partitioned: bool = False
    persistent: bool = False
    http_only: bool = True


@dataclass(frozen=True)
class Options:
    """What a Manager is set up with.

    - ``secret_keys``: texts of at least 32 bytes, the same in every app that shares the
      sessions. The first signs tokens, all verify them.
    - ``reads``: ``"live"``, each read asks the store, or ``"request"``, one load serves
      the request, whose own writes are seen.
    - ``rotate_every``: renews the token at this interval, from a minute; 0: never.
      ``rotate_grace``: how long the token before stays good once the new one was seen.
    - ``max_per_user``, ``when_full``: the cap on one user's sessions, and what a login
      over it does. ``best_effort_users`` permits that, ``revoke_all`` and ``block`` on a
      store that may evict lists.
    - ``create_on_navigation``: lets only navigations, and clients that send no Sec-Fetch
      headers, create a session.
    - ``keep_tombstones``: how long a destroyed session is remembered, at least as long as
      the longest request.
    - ``clear_site_data``: has a logout tell the browser to drop what it stored.
    - ``stale_fields``: what becomes of a value that was changed in place and has been
      written by somebody else meanwhile: ``"error"`` (StaleFieldError), ``"overwrite"``.
    - ``max_connections``: per process and server, and for asyncio per event loop; 100 is
      what redis-py allows, too. Fewer than threads make these wait for one another.
    - ``insecure_http``: drops Secure and the name prefix, for plain http in development.
      ``insecure_short_key``: permits shorter secret keys.
    """

    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    cookie: Cookie = field(default_factory=Cookie)
    timeouts: Timeouts = AAL2
    reads: Literal["live", "request"] = "live"
    rotate_every: float = 0
    rotate_grace: float = 15
    max_per_user: int = MAX_SESSIONS
    when_full: Literal["evict", "refuse"] = "evict"
    best_effort_users: bool = False
    create_on_navigation: bool = False
    keep_tombstones: float = 60
    clear_site_data: bool = False
    stale_fields: Literal["error", "overwrite"] = "error"
    limits: Limits = field(default_factory=Limits)
    max_connections: int = 100
    insecure_http: bool = False
    insecure_short_key: bool = False

    def checked(self) -> Options:
        """Returns these options with the cookie's name filled in, or raises OptionsError."""
        options = replace(self, cookie=_named(self.cookie, self.insecure_http))
        problems = [*_problems(options), *_cookie_problems(options.cookie, self.insecure_http)]
        if problems:
            raise OptionsError("invalid options:\n" + "\n".join(problems))
        return options


def _key_problems(o: Options) -> list[str]:
    if not o.secret_keys or isinstance(o.secret_keys, str):
        return ["secret_keys: give a tuple of one text or more; `pazzo secret` makes one"]
    least = 1 if o.insecure_short_key else _MIN_KEY
    return [
        f"secret_keys[{i}] has {size} bytes: at least {_MIN_KEY} are needed"
        " (insecure_short_key permits fewer, but not none)"
        for i, size in enumerate(len(key.encode()) for key in o.secret_keys)
        if size < least
    ]


def _problems(o: Options) -> list[str]:
    wrong = _key_problems(o)

    def between(name: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            wrong.append(f"{name} is {value}: {least} to {most} is allowed")

    between("timeouts.idle", o.timeouts.idle, 1, _LONGEST)
    between("timeouts.absolute", o.timeouts.absolute, 1, _LONGEST)
    if o.timeouts.idle > o.timeouts.absolute:
        wrong.append(f"timeouts.idle is {o.timeouts.idle}, longer than timeouts.absolute")
    if o.rotate_every:
        between("rotate_every", o.rotate_every, 60, _LONGEST)
    between("rotate_grace", o.rotate_grace, 1, 300)
    between("keep_tombstones", o.keep_tombstones, 1, 24 * 3600)
    between("max_per_user", o.max_per_user, 1, MAX_SESSIONS)
    between("max_connections", o.max_connections, 1, 65535)
    most = Limits(MAX_NAME, 64 << 20, 1 << 20, 256 << 20)
    for name, value, top in zip(Limits._fields, o.limits, most, strict=True):
        between(f"limits.{name}", value, 1, top)
    for name, given, allowed in (
        ("reads", o.reads, ("live", "request")),
        ("when_full", o.when_full, ("evict", "refuse")),
        ("stale_fields", o.stale_fields, ("error", "overwrite")),
    ):
        if given not in allowed:
            wrong.append(f"{name} is {given!r}: {' and '.join(allowed)} are allowed")
    return wrong


def _named(cookie: Cookie, insecure: bool) -> Cookie:
    if cookie.name:
        return cookie
    if insecure:
        return replace(cookie, name="session")
    prefix = "__Secure-" if cookie.domain or cookie.path != "/" else "__Host-"
    return replace(cookie, name=prefix + "session")


def _cookie_problems(c: Cookie, insecure: bool) -> list[str]:
    wrong = []
    if not _COOKIE_NAME.fullmatch(c.name) or len(c.name) + TOKEN_CHARS > _MAX_COOKIE:
        wrong.append(f"cookie.name is {c.name!r}: a token of RFC 6265, section 4.1.1, is needed")
    if not c.path.startswith("/") or not _ATTRIBUTE.fullmatch(c.path):
        wrong.append(f"cookie.path is {c.path!r}: it must begin with / and have no ;")
    if c.domain and not _DOMAIN.fullmatch(c.domain):
        wrong.append(f"cookie.domain is {c.domain!r}: a host's name is needed")
    if c.same_site not in ("Lax", "Strict", "None"):
        wrong.append(f"cookie.same_site is {c.same_site!r}: Lax, Strict and None are allowed")
    lower = c.name.lower()
    if lower.startswith("__host-") and (c.domain or c.path != "/"):
        wrong.append(f"cookie.name {c.name!r} needs path / and no domain (RFC 6265bis)")
    if insecure and lower.startswith(("__host-", "__secure-")):
        wrong.append(f"cookie.name {c.name!r} needs Secure, which insecure_http drops")
    if insecure and (c.same_site == "None" or c.partitioned):
        wrong.append("cookie.same_site None and partitioned need Secure")
    return wrong
