"""The example app on Bottle: a route's parameter ``session`` is the shared session."""

import json
import os

from bottle import Bottle, request

import pazzo
from pazzo.bottle import SessionPlugin

app = Bottle()
app.install(
    SessionPlugin(
        pazzo.Manager(
            os.environ["PAZZO_STORE"],
            pazzo.Options(
                secret_keys=(os.environ["PAZZO_SECRET_KEY"],),
                insecure_http=True,  # development: plain http, and a cookie named session
            ),
        )
    )
)


@app.get("/inc")
def inc(session):
    """Adds 1 to an integer field. No addition is lost."""
    return str(session.add(request.query.k, 1))


@app.get("/get")
def get(session):
    """Prints a field of any type, or 0."""
    return json.dumps(session.get(request.query.k, 0))


@app.get("/mix")
def mix(session):
    """Reads five fields and writes a sixth."""
    total = sum(session.get(f"f{i}", 0) for i in range(5))
    session[request.query.k] = total + 1
    return str(total)


@app.get("/set")
def set_(session):
    """Gives a field any JSON value."""
    session[request.query.k] = json.loads(request.query.v)
    return request.query.v


@app.get("/dump")
def dump(session):
    """Prints all fields as one JSON object."""
    return dict(session.items())


@app.get("/login")
def login(session):
    """Logs the user in: the session keeps its fields and gets a new cookie."""
    session.authenticate(request.query.user)
    return request.query.user


@app.get("/logout")
def logout(session):
    """Ends the session for good."""
    session.destroy()
    return ""


@app.get("/me")
def me(session):
    """Prints who is logged in, or nothing."""
    return session.user
