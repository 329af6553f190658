from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

import pazzo
from pazzo import Manager
from pazzo.asgi import SessionMiddleware
from scenarios import Get, check_down
from servers import Server


async def inc(request: Request) -> Response:
    return PlainTextResponse(str(await request.session.aadd("n")))  # type: ignore[attr-defined]


async def get(request: Request) -> Response:
    return PlainTextResponse(str(await request.session.aget("n", 0)))  # type: ignore[attr-defined]


async def cart(request: Request) -> Response:
    session: Any = request.session
    (await session.asetdefault("cart", [])).append(1)
    return PlainTextResponse(str(len(await session.aget("cart"))))


async def login(request: Request) -> Response:
    await request.session.aauthenticate("ann")  # type: ignore[attr-defined]
    return PlainTextResponse("in")


async def logout(request: Request) -> Response:
    await request.session.adestroy()  # type: ignore[attr-defined]
    return PlainTextResponse("out")


async def stream(request: Request) -> Response:
    session: Any = request.session

    async def chunks() -> Any:
        for _ in range(3):
            yield str(await session.aadd("streamed"))
            (await session.asetdefault("late", [])).append(1)

    return StreamingResponse(chunks())


async def crash(request: Request) -> Response:
    await request.session.aauthenticate("bob")  # type: ignore[attr-defined]
    raise RuntimeError("on purpose")


async def refuse(request: Request) -> Response:
    await request.session.aauthenticate("bob")  # type: ignore[attr-defined]
    raise HTTPException(500, "on purpose")


async def fall(request: Request) -> Response:
    raise RuntimeError("before any write")


def sync(request: Request) -> Response:
    return PlainTextResponse(str(request.session.add("n")))  # type: ignore[attr-defined]


async def socket(websocket: WebSocket) -> None:
    session: Any = websocket.session
    first = websocket.query_params.get("first")
    if first:
        await session.aadd("n")
    await websocket.accept()
    try:
        async for word in websocket.iter_text():
            if word == "inc":
                await websocket.send_text(str(await session.aadd("n")))
            elif word == "login":
                await session.aauthenticate("ann")
            else:
                await websocket.send_text(str(await session.aget("n", 0)))
    except pazzo.PazzoError as error:
        await websocket.send_text(type(error).__name__)
        await websocket.close()


ROUTES: list[Any] = [
    Route(f"/{f.__name__}", f)
    for f in (inc, get, cart, login, logout, stream, sync, crash, refuse, fall)
]
ROUTES.append(WebSocketRoute("/socket", socket))


def inside(manager: Manager) -> Any:
    return Starlette(routes=ROUTES, middleware=[Middleware(SessionMiddleware, manager=manager)])


def around(manager: Manager) -> Any:
    return SessionMiddleware(Starlette(routes=ROUTES), manager)


def browser(app: Any, **options: Any) -> TestClient:
    headers = {"Sec-Fetch-Mode": "cors"}
    return TestClient(app, base_url="https://testserver", headers=headers, **options)


@pytest.fixture
def client(manager: Manager) -> Iterator[TestClient]:
    with browser(inside(manager)) as client:
        yield client


def token_of(client: TestClient) -> str:
    return client.cookies.get("__Host-session") or ""


def test_a_visit(client: TestClient) -> None:
    response = client.get("/get")
    assert (response.text, "set-cookie" in response.headers) == ("0", False)
    assert response.headers["vary"] == "Cookie"
    response = client.get("/inc")
    assert response.text == "1"
    assert response.headers["set-cookie"].startswith("__Host-session=")
    assert response.headers["cache-control"] == "no-store"
    response = client.get("/sync")
    assert (response.text, "set-cookie" in response.headers) == ("2", False)
    assert [client.get("/cart").text for _ in range(2)] == ["1", "2"]


def test_login_and_logout(client: TestClient, manager: Manager) -> None:
    client.get("/inc")
    old = token_of(client)
    client.get("/login")
    new = token_of(client)
    assert new != old
    assert manager.acquire(new).user == "ann"
    stale = client.get("/inc", headers={"Cookie": f"__Host-session={old}"})
    client.cookies.set("__Host-session", old, domain="testserver.local")
    client.cookies.clear()
    stale = client.get("/inc", headers={"Cookie": f"__Host-session={old}"})
    assert (stale.status_code, stale.text) == (409, "")
    assert "set-cookie" not in stale.headers
    response = client.get("/logout", headers={"Cookie": f"__Host-session={new}"})
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert client.get("/inc", headers={"Cookie": f"__Host-session={new}"}).status_code == 409


@pytest.mark.parametrize("place", [inside, around])
def test_a_logins_cookie_goes_out_with_a_500(
    place: Callable[[Manager], Any], manager: Manager
) -> None:
    app = place(manager)
    for path in ("/crash", "/refuse"):
        with browser(app, raise_server_exceptions=False) as client:
            response = client.get(path)
            assert response.status_code == 500
            assert manager.acquire(token_of(client)).user == "bob"
    with browser(app, raise_server_exceptions=False) as client:
        response = client.get("/fall")  # Starlette's own page: there is no cookie to set
        assert (response.text, "set-cookie" in response.headers) == ("Internal Server Error", False)
    with browser(app) as client, pytest.raises(RuntimeError, match="on purpose"):
        client.get("/crash")  # whoever logs errors still sees it


def test_a_store_that_is_down(own_server: Server, make: Callable[..., Manager]) -> None:
    with contextlib.ExitStack() as stack:

        def start(url: str) -> Get:
            client = stack.enter_context(browser(inside(make(url))))

            def get() -> tuple[int, str, list[str]]:
                response = client.get("/inc")
                return response.status_code, response.text, response.headers.get_list("set-cookie")

            return get

        check_down(own_server, start)


def test_streaming(client: TestClient, manager: Manager) -> None:
    client.get("/inc")
    assert client.get("/stream").text == "123"
    assert manager.acquire(token_of(client))["late"] == [1, 1, 1]


def test_a_stream_cannot_begin_a_session(client: TestClient) -> None:
    with pytest.raises(pazzo.ResponseStartedError):
        client.get("/stream")


def test_websockets(client: TestClient, manager: Manager) -> None:
    client.get("/inc")
    token = token_of(client)
    with client.websocket_connect("wss://testserver/socket") as ws:
        ws.send_text("inc")
        assert ws.receive_text() == "2"
        manager.acquire(token).add("n", 10)
        ws.send_text("get")
        assert ws.receive_text() == "12"  # a live read
        manager.acquire(token).destroy()
        ws.send_text("inc")
        assert ws.receive_text() == "GoneError"


def test_a_websocket_sets_its_cookie_before_accept_only(
    client: TestClient, manager: Manager
) -> None:
    with client.websocket_connect("wss://testserver/socket") as ws:
        ws.send_text("login")
        assert ws.receive_text() == "ResponseStartedError"
    with client.websocket_connect("wss://testserver/socket?first=1") as ws:
        headers = dict(ws.extra_headers or [])
        assert headers[b"set-cookie"].startswith(b"__Host-session=")


def test_other_scopes_pass(manager: Manager) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    import asyncio

    asyncio.run(SessionMiddleware(app, manager)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]
