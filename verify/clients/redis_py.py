"""Checks redis-py, as it comes, against a running agent.

    redis_py.py [--without-hiredis]

The first line of the standard input is a plan, which real_clients_test.go describes. Each
step is done over each way to the agent that this redis-py has. Then this prints "restart"
and reads on once the agent has been started anew.
"""

import base64
import json
import sys
from contextlib import contextmanager

if "--without-hiredis" in sys.argv:
    sys.modules["hiredis"] = None  # what makes importing it fail, as if it were not installed

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

RELEASE = int(redis.__version__.split(".")[0])


def main():
    plan = json.loads(sys.stdin.readline())
    hiredis = redis.utils.HIREDIS_AVAILABLE
    expect("hiredis is used", hiredis, "--without-hiredis" not in sys.argv)
    steps = [Steps(plan, way) for way in plan["ways"] if has(way)]
    for each in steps:
        each.all()
    print("restart", flush=True)
    sys.stdin.readline()
    for each in steps:
        each.once_more()


def has(way):
    """Whether this redis-py has that way, to whatever server."""
    if RELEASE == 7 and way["socket"] and way["protocol"] == 3:
        return False  # its ValueError: … connection object that doesn't have a host attribute
    return RELEASE >= 5 or not way["protocol"]


class Steps:
    """What is done over one way to the agent, with one client."""

    def __init__(self, plan, way):
        self.plan = plan
        self.key = way["key"]
        self.args = [base64.b64decode(a) for a in way["args"]]
        self.handle = self.args[0][1:17]  # after the layout's byte
        self.to = {"username": way["user"] or None, "password": way["password"]}
        if way["protocol"]:
            self.to["protocol"] = way["protocol"]
        if way["socket"]:
            self.to["unix_socket_path"] = way["socket"]
        else:
            self.to.update(host=way["host"], port=way["port"])
        self.name = way["name"]
        self.client = redis.Redis(**self.to)

    def all(self):
        with named(self.name):
            expect("PING", self.client.ping(), True)
            self.scripts()
            self.reads()
            self.errors()
            self.wrong_password()
            self.cache()

    def scripts(self):
        self.apply()
        answer = self.client.eval(self.plan["script"], 1, self.key, *self.args)
        expect("EVAL", answer[:16], self.handle)
        # NOSCRIPT, which the helper answers by loading the script.
        unknown = self.client.register_script("return 1")
        refused("a foreign script", "does not run that script", lambda: unknown(keys=[self.key]))

    def apply(self):
        run = self.client.register_script(self.plan["script"])
        answer = run(keys=[self.key], args=self.args)
        expect("the script", answer[:17], self.handle + b"\0")  # 0: the batch was done

    def reads(self):
        expect("HMGET", self.client.hmget(self.key, ["n", "missing"]), [b"42", None])
        expect("HGETALL", self.client.hgetall(self.key)[b"n"], b"42")
        expect("PTTL > 0", self.client.pttl(self.key) > 0, True)
        pipe = self.client.pipeline(transaction=False)
        pipe.ping().hget(self.key, "n").hmget(self.key, ["missing"])
        expect("a pipeline", pipe.execute(), [True, b"42", [None]])

    def errors(self):
        refused("SET", "unknown command", lambda: self.client.set("a", "b"))
        pipe = self.client.pipeline(transaction=False).hget(self.key, "n").set("a", "b").ping()
        value, error, pong = pipe.execute(raise_on_error=False)
        expect("around an error", (value, pong), (b"42", True))
        expect("an error in a pipeline", "unknown command" in str(error), True)
        expect("after an error", self.client.hget(self.key, "n"), b"42")

    def wrong_password(self):
        once = Retry(NoBackoff(), 0)  # a newer redis-py would try again for seconds
        with redis.Redis(**{**self.to, "password": "wrong"}, retry=once) as stranger:
            refused("a wrong password", "WRONGPASS|invalid username-password", stranger.ping)

    def cache(self):
        if self.to.get("protocol") != 3 or "host" not in self.to:
            return  # redis-py has none in RESP2, and ignores the option on a socket
        from redis.cache import CacheConfig

        with redis.Redis(**self.to, cache_config=CacheConfig()) as caching:
            refused("its cache", "switch the client's cache off", lambda: caching.hget("a", "n"))

    def once_more(self):
        """Works on its own after a restart, which the memory has not outlived."""
        with named(self.name + " after a restart"):
            self.apply()
            self.reads()


def expect(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: {got!r} instead of {want!r}")


def refused(what, says, call):
    try:
        got = call()
    except RedisError as error:
        if not any(text in str(error) for text in says.split("|")):
            raise AssertionError(f"{what}: {error!r} does not say {says!r}") from error
    else:
        raise AssertionError(f"{what}: {got!r} instead of an error")


@contextmanager
def named(name):
    try:
        yield
    except (AssertionError, RedisError) as error:
        raise SystemExit(f"{name}: {type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
