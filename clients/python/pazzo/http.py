"""What a session reads of a request, and what it says in the response."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from .options import Options
from .token import Keyring, Token

# How many of a request's tokens are tried with the store.
_CANDIDATES: Final = 3
_MAX_AGE: Final = 400 * 24 * 3600
_SPACE: Final = " \t"


class Request(NamedTuple):
    """What a session needs to know of its HTTP request.

    ``cookies`` are the values of the Cookie headers. ``detached`` means that there is no
    request: the session belongs to a message or to work in the background.
    """

    cookies: tuple[str, ...] = ()
    mode: str = ""
    site: str = ""
    dest: str = ""
    detached: bool = False

    def __repr__(self) -> str:
        return f"Request(mode={self.mode!r})"  # no token

    @property
    def navigation(self) -> bool:
        """Whether the browser says that it is going to a page."""
        return self.mode == "navigate"

    @property
    def may_be_first(self) -> bool:
        """Whether it may be a visitor's first, rather than one of the many of a page."""
        silent = not (self.mode or self.site or self.dest)
        return self.detached or self.navigation or silent


class Candidate(NamedTuple):
    """A token of ours that came with the request."""

    token: Token
    old: bool  # signed with an older key


def candidates(request: Request, name: str, keys: Keyring) -> list[Candidate]:
    """Returns the tokens that came with a request, in the order of the cookies."""
    found: list[Candidate] = []
    for line in request.cookies:
        for value in cookie_values(line, name):
            opened = keys.open(value)
            candidate = None if opened is None else Candidate(*opened)
            if candidate is None or candidate in found:
                continue
            found.append(candidate)
            if len(found) == _CANDIDATES:
                return found
    return found


def cookie_values(line: str, name: str) -> Iterator[str]:
    """Yields the values that a Cookie header gives to name (RFC 6265, section 5.4)."""
    for pair in line.split(";"):
        key, found, value = pair.partition("=")
        if not found or key.strip(_SPACE) != name:
            continue
        value = value.strip(_SPACE)
        if len(value) > 1 and value[0] == '"' == value[-1]:
            value = value[1:-1]
        yield value


@dataclass(frozen=True)
class Offer:
    """The cookie that a response is to set.

    With ``certain`` off the browser's own token is good as well, so that it is left alone
    when in doubt. ``left`` is the time until the session's absolute end, in ms.
    """

    token: Token
    certain: bool
    browser_close: bool
    left: int


class Decision(NamedTuple):
    """What a response says of our cookie: sets it, has it forgotten, or nothing."""

    offer: Offer | None = None
    forget: bool = False


NOTHING: Final = Decision()


class Outgoing:
    """What a session has to say in its response: one cookie at most, the last word."""

    def __init__(self) -> None:
        self.accessed = False  # the response depends on the cookie
        self.started = False
        self.forget = False
        self.offer: Offer | None = None
        self._lock = threading.Lock()

    @property
    def is_due(self) -> bool:
        """Whether there is a cookie that the browser cannot do without."""
        return self.forget or (self.offer is not None and self.offer.certain)

    def set(self, offer: Offer) -> None:
        """Has the response set a cookie, if that is still possible."""
        with self._lock:
            before = self.offer
            if self.started:
                return
            if before is not None and before.token.handle == offer.token.handle:
                if offer.token.generation < before.token.generation:
                    return  # this request has renewed it meanwhile
                certain = offer.certain or before.certain
                offer = Offer(offer.token, certain, offer.browser_close, offer.left)
            self.offer, self.forget = offer, False

    def delete(self) -> None:
        """Has the response delete the cookie, if that is still possible."""
        with self._lock:
            if not self.started:
                self.offer, self.forget = None, True

    def begin(self) -> bool:
        """Closes the response to further cookies; False if that was done before."""
        with self._lock:
            first, self.started = not self.started, True
            return first


def set_cookie(options: Options, keys: Keyring, offer: Offer | None) -> str:
    """Renders a Set-Cookie header; without an offer it deletes the cookie."""
    c = options.cookie
    parts = [f"{c.name}={keys.seal(offer.token) if offer else ''}", f"Path={c.path}"]
    if c.domain:
        parts.append(f"Domain={c.domain.lstrip('.')}")
    if offer is None:
        parts.append("Max-Age=0")
    elif c.persistent and not offer.browser_close:
        parts.append(f"Max-Age={max_age(offer)}")
    if c.http_only:
        parts.append("HttpOnly")
    if not options.insecure_http:
        parts.append("Secure")
    parts.append(f"SameSite={c.same_site}")
    if c.partitioned:
        parts.append("Partitioned")
    return "; ".join(parts)


def max_age(offer: Offer) -> int:
    """Returns how long a persistent cookie lasts, in seconds."""
    return max(1, min(offer.left // 1000, _MAX_AGE))


Headers = list[tuple[str, str]]


def respond(headers: Headers, said: Headers, accessed: bool) -> Headers:
    """Returns a response's headers with ours: what :func:`headers_of` says, and Vary."""
    replaced = {name.lower() for name, _ in said} - {"set-cookie"}
    merged = [(name, value) for name, value in headers if name.lower() not in replaced] + said
    if accessed and not _varies(value for name, value in headers if name.lower() == "vary"):
        merged.append(("Vary", "Cookie"))
    return merged


def headers_of(options: Options, keys: Keyring, decision: Decision) -> Headers:
    """Returns the headers of a decision. Set-Cookie is added, the others replace."""
    if decision == NOTHING:
        return []
    headers = [
        ("Set-Cookie", set_cookie(options, keys, decision.offer)),
        ("Cache-Control", "no-store"),
    ]
    return headers + clear_site_data(options, decision)


def clear_site_data(options: Options, decision: Decision) -> Headers:
    """Returns the header that has a browser drop what it stored, at a logout."""
    if decision.forget and options.clear_site_data:
        return [("Clear-Site-Data", '"cache", "storage"')]
    return []


def _varies(lines: Iterable[str]) -> bool:
    names = (name.strip().lower() for line in lines for name in line.split(","))
    return any(name in ("*", "cookie") for name in names)
