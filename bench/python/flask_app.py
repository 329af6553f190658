"""The app of the benchmark on Flask, with the sessions that SESSIONS names."""

import os

import redis
from flask import Flask, request, session

app = Flask(__name__)
if os.environ["SESSIONS"] == "flask-session":
    from flask_session import Session

    app.config["SESSION_TYPE"] = "redis"
    app.config["SESSION_REDIS"] = redis.Redis.from_url(os.environ["BARE"])
    Session(app)
else:
    import pazzo
    from pazzo.flask import Pazzo

    options = pazzo.Options(secret_keys=("k" * 32,), reads="request", insecure_http=True)
    Pazzo(app, pazzo.Manager(os.environ["PAZZO_STORE"], options))


@app.get("/inc")
def inc():
    k = request.args["k"]
    if hasattr(session, "add"):
        return str(session.add(k, 1))
    session[k] = session.get(k, 0) + 1
    return str(session[k])


@app.get("/get")
def get():
    return str(session.get(request.args["k"], 0))


@app.get("/mix")
def mix():
    total = sum(session.get(f"f{i}", 0) for i in range(5))
    session[request.args["k"]] = total + 1
    return str(total)


@app.get("/set")
def set_():
    session[request.args["k"]] = int(request.args["v"])
    return request.args["v"]
