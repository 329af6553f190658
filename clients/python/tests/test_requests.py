"""What a request's tokens may do, and what its response says of the cookie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pazzo
from pazzo import Cookie, Manager, Request, Session
from pazzo.http import headers_of, respond
from pazzo.options import AAL1

NAVIGATION = {"mode": "navigate", "site": "none", "dest": "document"}
FETCH = {"mode": "cors", "site": "same-origin", "dest": "empty"}


def request(manager: Manager, *tokens: str, **fetch: str) -> Session:
    name = manager.options.cookie.name
    cookies = "; ".join(f"{name}={token}" for token in tokens)
    return manager.session(Request((cookies,) if cookies else (), **(fetch or FETCH)))


def said(session: Session) -> list[tuple[str, str]]:
    return headers_of(session.manager.options, session.manager.keys, session.finish())


def cookie(session: Session) -> str | None:
    """The value that the response sets, "" if it deletes the cookie."""
    for name, value in said(session):
        if name == "Set-Cookie":
            return value.partition(";")[0].partition("=")[2]
    return None


def visitor(manager: Manager) -> str:
    session = request(manager, **NAVIGATION)
    session["made"] = True
    return cookie(session) or ""


def test_the_default_cookie(manager: Manager) -> None:
    session = request(manager)
    session["a"] = 1
    headers = said(session)
    assert headers == [
        (
            "Set-Cookie",
            f"__Host-session={session.token}; Path=/; HttpOnly; Secure; SameSite=Lax",
        ),
        ("Cache-Control", "no-store"),
    ]
    assert said(session) == []  # once
    other = request(manager, session.token)
    assert other["a"] == 1
    assert said(other) == []
    other = request(manager, session.token)
    other.destroy()
    assert said(other)[0][1] == (
        "__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
    )


@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        ({"insecure_http": True}, "session=T; Path=/; HttpOnly; SameSite=Lax"),
        (
            {"cookie": Cookie(domain="example.org")},
            "__Secure-session=T; Path=/; Domain=example.org; HttpOnly; Secure; SameSite=Lax",
        ),
        (
            {"cookie": Cookie(name="sid", path="/app", same_site="None", partitioned=True)},
            "sid=T; Path=/app; HttpOnly; Secure; SameSite=None; Partitioned",
        ),
        (
            {"cookie": Cookie(persistent=True)},
            "__Host-session=T; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax",
        ),
        (
            {"cookie": Cookie(persistent=True, same_site="Strict"), "timeouts": AAL1},
            "__Host-session=T; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Strict",
        ),
    ],
)
def test_attributes(make: Callable[..., Manager], options: Any, attributes: str) -> None:
    session = request(make(**options))
    session["a"] = 1
    assert said(session)[0][1] == attributes.replace("=T;", f"={session.token};")


def test_reading_says_nothing(manager: Manager) -> None:
    session = request(manager)
    assert session.get("a") is None
    assert said(session) == []


def test_an_unknown_token_is_never_adopted(manager: Manager, make: Any, url: str) -> None:
    foreign = pazzo.Manager(url, pazzo.Options(secret_keys=("another key of at least 32 bytes!",)))
    forged = visitor(foreign)
    session = request(manager, forged)
    assert session.get("made") is None
    session["a"] = 1
    assert cookie(session) not in (None, forged)
    foreign.close()


def test_several_cookies(manager: Manager) -> None:
    live, dead = visitor(manager), visitor(manager)
    manager.acquire(dead).destroy()
    assert request(manager, "rubbish", dead, live)["made"] is True
    many = [visitor(manager) for _ in range(3)]
    for token in many:
        manager.acquire(token).destroy()
    assert request(manager, *many, live).get("made") is None  # three at most are tried


def test_an_older_key_is_signed_anew(make: Callable[..., Manager], url: str) -> None:
    old, new = "o" * 32, "n" * 32
    token = visitor(make(secret_keys=(old,)))
    both = make(secret_keys=(new, old))
    session = request(both, token)
    assert session["made"] is True
    fresh = cookie(session)
    assert fresh
    assert fresh != token
    assert request(make(secret_keys=(new,)), fresh)["made"] is True
    assert request(make(secret_keys=(new,)), token).get("made") is None


def test_a_superseded_token_neither_sets_nor_deletes(manager: Manager) -> None:
    old = visitor(manager)
    login = request(manager, old)
    login.authenticate("ann")
    new = cookie(login)
    for fetch in (FETCH, NAVIGATION):
        late = request(manager, old, **fetch)
        assert late.get("made") is None
        with pytest.raises(pazzo.SupersededError):
            late["x"] = 1
        with pytest.raises(pazzo.SupersededError):
            late.destroy()
        assert said(late) == []
    assert request(manager, new or "")["made"] is True


def test_authenticate_with_a_superseded_token_begins_anew(manager: Manager) -> None:
    old = visitor(manager)
    first = request(manager, old)
    first.authenticate("ann")
    second = request(manager, old)
    second.authenticate("ann")
    assert second.handle != first.handle
    assert second.user == "ann"
    assert len(manager.sessions("ann")) == 2


def test_an_ended_token(manager: Manager) -> None:
    token = visitor(manager)
    request(manager, token).destroy()
    late = request(manager, token)
    assert late.get("made") is None
    with pytest.raises(pazzo.GoneError):
        late.add("n")
    assert said(late) == []
    for fetch in (NAVIGATION, {"mode": ""}):
        anew = request(manager, token, **fetch)
        assert anew.add("n") == 1
        assert cookie(anew)


def test_a_login_over_another_user(manager: Manager) -> None:
    first = request(manager, visitor(manager))
    first.authenticate("ann")
    token = cookie(first) or ""
    second = request(manager, token)
    second.authenticate("bob")
    assert second.get("made") is None
    assert second.handle != first.handle
    assert manager.sessions("ann") == []
    late = request(manager, token, **NAVIGATION)
    with pytest.raises(pazzo.GoneError):
        late.add("n")  # replaced: only a login may begin anew
    late.authenticate("ann")
    assert late.user == "ann"


def test_the_same_user_again_keeps_the_fields(manager: Manager) -> None:
    session = request(manager, visitor(manager))
    session.authenticate("ann")
    token = session.token
    session.authenticate("ann")
    assert session["made"] is True
    assert session.token != token


def test_after_the_response_has_started(manager: Manager) -> None:
    token = visitor(manager)
    session = request(manager, token)
    session.finish()
    session["x"] = 1  # a write that needs no cookie
    for call in (session.renew, lambda: session.authenticate("ann")):
        with pytest.raises(pazzo.ResponseStartedError):
            call()
    fresh = request(manager)
    fresh.finish()
    with pytest.raises(pazzo.ResponseStartedError):
        fresh["x"] = 1
    assert request(manager, token)["x"] == 1


def test_create_on_navigation(make: Callable[..., Manager]) -> None:
    manager = make(create_on_navigation=True)
    with pytest.raises(pazzo.NotNavigationError):
        request(manager).add("n")
    for fetch in (NAVIGATION, {"mode": ""}):
        assert request(manager, **fetch).add("n") == 1


def rotated(manager: Manager, token: str, by_seconds: int) -> Session:
    """A request for which the token is that old: the record is aged in place."""
    import redis

    endpoint = manager.store.config.endpoints[0]
    opened = manager.keys.open(token)
    assert opened
    key = f"{manager.store.config.prefix}{{{opened[0].handle.hex()}}}"
    with redis.Redis(host=endpoint.host, port=endpoint.port) as client:
        meta = client.hget(key, "\0m")
        assert isinstance(meta, bytes)
        renewed = int.from_bytes(meta[56:], "big") - by_seconds * 1000
        client.hset(key, "\0m", meta[:56] + renewed.to_bytes(6, "big"))
    return request(manager, token)


def test_rotation(make: Callable[..., Manager]) -> None:
    manager = make(rotate_every=60, rotate_grace=1)
    token = visitor(manager)
    young = rotated(manager, token, 50)
    assert young["made"] is True
    assert said(young) == []
    session = rotated(manager, token, 20)
    assert session["made"] is True
    new = cookie(session)
    assert new not in (None, token)
    # Whoever presents the former one is served fully and gets the current cookie.
    for _ in range(2):
        late = request(manager, token)
        late.add("n")
        assert cookie(late) == new
    assert request(manager, new or "")["n"] == 2


def test_an_offer_is_not_made_over_a_login(make: Callable[..., Manager]) -> None:
    manager = make(rotate_every=60)
    session = rotated(manager, visitor(manager), 61)
    assert session["made"] is True
    current = session.state.out.offer
    assert current is not None
    request(manager, manager.keys.seal(current.token)).authenticate("ann")
    assert said(session) == []


def test_clear_site_data(make: Callable[..., Manager]) -> None:
    manager = make(clear_site_data=True)
    session = request(manager, visitor(manager))
    session.destroy()
    assert ("Clear-Site-Data", '"cache", "storage"') in said(session)


def test_a_request_does_not_show_its_cookies() -> None:
    assert "geheim" not in repr(Request(("session=geheim",)))


def test_headers_are_merged() -> None:
    ours = [("Set-Cookie", "b=2"), ("Cache-Control", "no-store")]
    theirs = [("set-cookie", "a=1"), ("cache-control", "public"), ("X", "y")]
    merged = respond(theirs, ours, accessed=True)
    assert merged == [("set-cookie", "a=1"), ("X", "y"), *ours, ("Vary", "Cookie")]
    for vary in ("*", "Accept, cookie"):
        assert respond([("Vary", vary)], [], accessed=True) == [("Vary", vary)]
    assert respond(theirs, [], accessed=False) == theirs
