"""The example app on Starlette: ``request.session`` is the session that all share."""

import json
import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import pazzo
from pazzo.asgi import SessionMiddleware

manager = pazzo.Manager(
    os.environ["PAZZO_STORE"],
    pazzo.Options(
        secret_keys=(os.environ["PAZZO_SECRET_KEY"],),
        insecure_http=True,  # development: plain http, and a cookie named session
    ),
)


async def inc(request):
    """Adds 1 to an integer field. No addition is lost."""
    return PlainTextResponse(str(await request.session.aadd(request.query_params["k"], 1)))


async def get(request):
    """Prints a field of any type, or 0."""
    return PlainTextResponse(json.dumps(await request.session.aget(request.query_params["k"], 0)))


async def mix(request):
    """Reads five fields and writes a sixth."""
    total = sum([await request.session.aget(f"f{i}", 0) for i in range(5)])
    await request.session.aset(request.query_params["k"], total + 1)
    return PlainTextResponse(str(total))


async def set_(request):
    """Gives a field any JSON value."""
    text = request.query_params["v"]
    await request.session.aset(request.query_params["k"], json.loads(text))
    return PlainTextResponse(text)


async def dump(request):
    """Prints all fields as one JSON object."""
    return JSONResponse(await request.session.aall())


async def login(request):
    """Logs the user in: the session keeps its fields and gets a new cookie."""
    user = request.query_params["user"]
    await request.session.aauthenticate(user)
    return PlainTextResponse(user)


async def logout(request):
    """Ends the session for good."""
    await request.session.adestroy()
    return PlainTextResponse("")


async def me(request):
    """Prints who is logged in, or nothing."""
    info = await request.session.ainfo()
    return PlainTextResponse(info.user if info else "")


app = Starlette(
    routes=[
        Route("/inc", inc),
        Route("/get", get),
        Route("/mix", mix),
        Route("/set", set_),
        Route("/dump", dump),
        Route("/login", login),
        Route("/logout", logout),
        Route("/me", me),
    ],
    middleware=[Middleware(SessionMiddleware, manager=manager)],
)
