"""Times one access of a field through a session beside a bare redis-py HGET.

Reads numbers of calls from standard input, one a line, first of the session and then of
the bare client; answers each with the seconds that they took.
"""

import os
import sys
import time

import redis

import pazzo


def main():
    manager = pazzo.Manager(
        os.environ["PAZZO_STORE"], pazzo.Options(secret_keys=("k" * 32,), insecure_http=True)
    )
    made = manager.acquire()
    made["theme"] = "dark"
    session = manager.acquire(made.token)
    client = redis.Redis.from_url(os.environ["BARE"], decode_responses=True)
    client.hset("bare", "theme", '"dark"')
    calls = [lambda: session["theme"], lambda: client.hget("bare", "theme")]
    for turn, line in enumerate(sys.stdin):
        call = calls[turn % 2]
        begin = time.perf_counter()
        for _ in range(int(line)):
            call()
        print(time.perf_counter() - begin, flush=True)


main()
