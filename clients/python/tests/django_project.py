"""A small Django project's views and URLs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path

from pazzo.django.admin import UserSessionsMixin


def inc(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.pazzo.add("n")))  # type: ignore[attr-defined]


def assign(request: HttpRequest) -> HttpResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    return HttpResponse(str(request.session["n"]))


def get(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.get("n", 0)))


def untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse("untouched")


def cart(request: HttpRequest) -> HttpResponse:
    request.session.setdefault("cart", []).append(1)
    return HttpResponse(str(len(request.session["cart"])))


def race(request: HttpRequest) -> HttpResponse:
    request.session["cart"].append("mine")
    store = type(request.session)
    store(request.session.session_key)["cart"] = ["theirs"]
    return HttpResponse("never seen")


def log_in(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.GET["user"], password="pass")
    login(request, user)  # type: ignore[arg-type]
    return HttpResponse(status=int(request.GET.get("status", 200)))


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


def me(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


def password(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    user.set_password("pass")
    user.save()
    update_session_auth_hash(request, user)
    return HttpResponse()


def expire(request: HttpRequest) -> HttpResponse:
    request.session.set_expiry(int(request.GET["seconds"]))
    return HttpResponse()


async def ainc(request: HttpRequest) -> HttpResponse:
    session: Any = request.session
    (await session.asetdefault("cart", [])).append(1)
    return HttpResponse(str(await session.pazzo.aadd("n")))


async def alog_in(request: HttpRequest) -> HttpResponse:
    from django.contrib.auth import alogin

    await alogin(request, await User.objects.aget(username=request.GET["user"]))
    return HttpResponse()


class PageAdmin(UserSessionsMixin, UserAdmin):
    pass


admin.site.unregister(User)
admin.site.register(User, PageAdmin)

VIEWS: list[Any] = [
    inc, assign, get, untouched, cart, race, log_in, log_out, me, password, expire, ainc, alog_in,
]  # fmt: skip
urlpatterns = [path(view.__name__, view) for view in VIEWS] + [path("admin/", admin.site.urls)]
