"""Under gevent: nothing is lost, and a greenlet that waits for the store holds up no other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from servers import Proxy, Server

BEGIN = """
from gevent import monkey
monkey.patch_all()
import sys
import time
import gevent
import pazzo

options = pazzo.Options(secret_keys=("k" * 32,), insecure_http=True, max_connections=4)
manager = pazzo.Manager(sys.argv[1], options)
session = manager.acquire()
session["made"] = True
"""

STORM = """
def work(n):
    for _ in range(25):
        mine = manager.acquire(session.token)
        mine.add("n")
        mine.update_field("shared", lambda v: v + 1, missing=0)

gevent.joinall([gevent.spawn(work, n) for n in range(20)], raise_error=True)
print(session["n"], session["shared"])
"""

SILENCE = """
print("ready", flush=True)
sys.stdin.readline()
ticks = 0

def tick():
    global ticks
    while True:
        gevent.sleep(0.01)
        ticks += 1

gevent.spawn(tick)
begin = time.monotonic()
try:
    session["made"]
except pazzo.UnavailableError as error:
    print(error)
print("in time" if time.monotonic() - begin < 3 and ticks > 5 else ticks)
"""

Run = Callable[[str, str], "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def start(program: str, url: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BEGIN + program, url]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_greenlets_on_one_session(run: Run, server: Server) -> None:
    out, _ = run(STORM, server.url).communicate(timeout=60)
    assert out.split() == ["500", "500"]


def test_a_silent_server_holds_up_no_other_greenlet(run: Run, proxy: Proxy) -> None:
    process = run(SILENCE, proxy.url + "?timeout=200ms")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    proxy.hold.set()
    out, _ = process.communicate("go\n", timeout=60)
    assert out.splitlines() == ["the store did not answer: no answer within 0.2 s", "in time"]
