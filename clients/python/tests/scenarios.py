"""What every framework's app is put through, as its browser sees it."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pazzo
from servers import Proxy, Server

PATIENCE = 10  # seconds


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def serving(app: Any) -> Iterator[int]:
    """Serves a WSGI app; gives its port."""
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Stream:
    """An app's stream of server-sent events, for a session that was written to before.

    It writes again when the browser has read what came first.
    """

    def __init__(self) -> None:
        self._turn = threading.Event()
        self._end = threading.Event()

    def events(self, session: Any) -> Iterator[str]:
        """Is what the app sends."""
        yield f"data: {session.get('n')}\n\n"
        assert self._turn.wait(PATIENCE)
        yield f"data: {session.add('n')}\n\n"
        assert self._end.wait(PATIENCE)

    def check(self, app: Any, manager: pazzo.Manager) -> str:
        """Reads /events, as a visitor without a session whose first write sets n to 1.

        Returns the token.
        """
        with serving(app) as port, contextlib.ExitStack() as last:
            last.callback(self._end.set)
            last.callback(self._turn.set)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE / 2)
            last.callback(connection.close)
            connection.request("GET", "/events", headers={"Sec-Fetch-Mode": "cors"})
            response = connection.getresponse()  # while the app waits for its turn
            assert response.status == 200
            assert response.headers.get_content_type() == "text/event-stream"
            (cookie,) = response.headers.get_all("Set-Cookie") or ()
            token = cookie.partition(";")[0].partition("=")[2]
            assert (response.readline(), response.readline()) == (b"data: 1\n", b"\n")
            assert manager.acquire(token).add("n", 10) == 11
            self._turn.set()
            assert (response.readline(), response.readline()) == (b"data: 12\n", b"\n")
            assert manager.acquire(token)["n"] == 12  # the stream goes on
            self._end.set()
            assert response.read() == b""
            return token


Get = Callable[[], tuple[int, str, list[str]]]


def check_down(server: Server, start: Callable[[str], Get]) -> None:
    """Takes the store from an app: it hangs, then it is gone.

    *start* starts the app over the store of that URL. What it returns sends a request that
    adds to the session, with the cookie of the one before; it returns the status, the body
    and the cookies that are set.
    """
    proxy = Proxy(server.port)
    try:
        get = start(f"{proxy.url}?timeout=500ms")
        assert get()[:2] == (200, "1")
        assert get() == (200, "2", [])
        proxy.hold.set()
        _check_refused(get)
        proxy.hold.clear()
        server.stop()
        _check_refused(get)
    finally:
        proxy.close()


def _check_refused(get: Get) -> None:
    start = time.monotonic()
    assert get() == (503, "", [])
    assert time.monotonic() - start < 3
