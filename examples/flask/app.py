"""The example app on Flask: ``flask.session`` is the session that all apps share."""

import json
import os

from flask import Flask, request, session

import pazzo
from pazzo.flask import Pazzo

app = Flask(__name__)
Pazzo(
    app,
    pazzo.Manager(
        os.environ["PAZZO_STORE"],
        pazzo.Options(
            secret_keys=(os.environ["PAZZO_SECRET_KEY"],),
            insecure_http=True,  # development: plain http, and a cookie named session
        ),
    ),
)


@app.get("/inc")
def inc():
    """Adds 1 to an integer field. No addition is lost."""
    return str(session.add(request.args["k"], 1))


@app.get("/get")
def get():
    """Prints a field of any type, or 0."""
    return json.dumps(session.get(request.args["k"], 0))


@app.get("/mix")
def mix():
    """Reads five fields and writes a sixth."""
    total = sum(session.get(f"f{i}", 0) for i in range(5))
    session[request.args["k"]] = total + 1
    return str(total)


@app.get("/set")
def set_():
    """Gives a field any JSON value."""
    session[request.args["k"]] = json.loads(request.args["v"])
    return request.args["v"]


@app.get("/dump")
def dump():
    """Prints all fields as one JSON object."""
    return dict(session.items())


@app.get("/login")
def login():
    """Logs the user in: the session keeps its fields and gets a new cookie."""
    session.authenticate(request.args["user"])
    return request.args["user"]


@app.get("/logout")
def logout():
    """Ends the session for good."""
    session.destroy()
    return ""


@app.get("/me")
def me():
    """Prints who is logged in, or nothing."""
    return session.user
