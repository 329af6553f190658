"""Store URLs.

::

    redis://[user:password@]host[:port][/db]
    redis+sentinel://[user:password@]host[:port],…/name[/db]
    redis+cluster://[user:password@]host[:port],…
    pazzo://[user:password@]host:port[/db]      an agent
    unix://[user:password@]/path[?db=0]         an agent, or Redis, on a socket

and rediss, rediss+sentinel, rediss+cluster for the same over TLS. Parameters: ``prefix``
of all keys (``pazzo:``), ``timeout`` of a call, such as 500ms (1 s), ``ca``, a file with
certificates to verify the server by, and ``sentinel_user``, ``sentinel_password``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote

from .errors import OptionsError
from .flow import Endpoint

DEFAULT_PREFIX: Final = "pazzo:"
DEFAULT_TIMEOUT: Final = 1.0
_SCHEMES: Final = (
    "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
    "pazzo", "unix",
)  # fmt: skip
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\s]+)(?::([0-9]+))?")


class Config(NamedTuple):
    """What a store URL says. ``timeout`` is in seconds."""

    kind: str  # "single", "sentinel", "cluster"
    endpoints: tuple[Endpoint, ...]
    secure: bool = False
    username: str | None = None
    password: str | None = None
    db: int = 0
    primary: str = ""
    prefix: str = DEFAULT_PREFIX
    timeout: float = DEFAULT_TIMEOUT
    ca: str | None = None
    sentinel_user: str | None = None
    sentinel_password: str | None = None

    def __repr__(self) -> str:
        return f"Config({self.kind}, {self.prefix})"  # no password


def parse(url: str) -> Config:
    """Reads a store URL. The text of an OptionsError never holds a password."""
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _SCHEMES:
        raise _wrong(f"the scheme must be one of {', '.join(_SCHEMES)}")
    if "#" in rest:
        raise _wrong("it has a fragment (#…); in a password, write %23")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    name, _, password = user.partition(":")
    base, _, kind = scheme.partition("+")
    config = Config(
        kind or "single",
        (),
        secure=base == "rediss",
        username=unquote(name) or None,
        password=unquote(password) if at else None,
    )
    parameters = _parameters(query, scheme)
    if scheme == "unix":
        if hosts or not path:
            raise _wrong("a socket's URL is unix:///path")
        config = config._replace(endpoints=(Endpoint("/" + path, 0),), db=_db(parameters["db"]))
    else:
        config = _place(config, hosts, [part for part in path.split("/") if part])
    return _apply(config, parameters)


def _wrong(why: str) -> OptionsError:
    return OptionsError(f"invalid store URL: {why}")


def _place(config: Config, hosts: str, path: list[str]) -> Config:
    usual = 26379 if config.kind == "sentinel" else 6379
    config = config._replace(endpoints=tuple(_host(h, usual) for h in hosts.split(",")))
    if config.kind == "single" and len(config.endpoints) > 1:
        raise _wrong("more than one host; write redis+sentinel or redis+cluster")
    if config.kind == "sentinel":
        if not path:
            raise _wrong("the name of the primary is missing: …/name")
        config = config._replace(primary=unquote(path.pop(0)))
    if len(path) > (0 if config.kind == "cluster" else 1):
        raise _wrong("there is too much behind the host")
    return config._replace(db=_db(path[0])) if path else config


def _host(text: str, usual: int) -> Endpoint:
    match = _HOST.fullmatch(text)
    port = int(match[2] or usual) if match else 0
    if not match or not 1 <= port <= 65535:
        raise _wrong(f"{text!r} is not host or host:port")
    return Endpoint(match[1].strip("[]"), port)


def _db(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text, re.ASCII):
        raise _wrong(f"the database {text!r} is not a number")
    return int(text)


def _parameters(query: str, scheme: str) -> dict[str, str]:
    allowed = {"prefix": DEFAULT_PREFIX, "timeout": "1s"}
    if scheme == "unix":
        allowed["db"] = "0"
    if scheme.startswith("rediss"):
        allowed["ca"] = ""
    if scheme.endswith("sentinel"):
        allowed |= {"sentinel_user": "", "sentinel_password": ""}
    given = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))
    for name, values in given.items():
        if name not in allowed:
            raise _wrong(f"unknown parameter {name!r}; allowed here are {', '.join(allowed)}")
        if len(values) > 1 or not values[0]:
            raise _wrong(f"parameter {name} is empty or given twice")
        allowed[name] = values[0]
    return allowed


def _apply(config: Config, parameters: dict[str, str]) -> Config:
    prefix = parameters["prefix"]
    if not prefix.endswith(":") or "{" in prefix or "}" in prefix:
        raise _wrong(f'prefix {prefix!r}; it must end in ":" and have no braces')
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)", parameters["timeout"], re.ASCII)
    timeout = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if timeout < 0.001:
        raise _wrong(f"timeout {parameters['timeout']!r}; from 1ms, such as 500ms or 2s")
    return config._replace(
        prefix=prefix,
        timeout=timeout,
        ca=parameters.get("ca") or None,
        sentinel_user=parameters.get("sentinel_user") or None,
        sentinel_password=parameters.get("sentinel_password") or None,
    )
