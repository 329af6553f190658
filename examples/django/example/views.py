"""The example app on Django: ``request.session`` is the session that all apps share."""

import json

from django.contrib.auth import get_user_model, login, logout
from django.http import HttpResponse, JsonResponse


def inc(request):
    """Adds 1 to an integer field. No addition is lost."""
    return HttpResponse(request.session.pazzo.add(request.GET["k"], 1))


def get(request):
    """Prints a field of any type, or 0."""
    return HttpResponse(json.dumps(request.session.get(request.GET["k"], 0)))


def mix(request):
    """Reads five fields and writes a sixth."""
    total = sum(request.session.get(f"f{i}", 0) for i in range(5))
    request.session[request.GET["k"]] = total + 1
    return HttpResponse(total)


def set_(request):
    """Gives a field any JSON value."""
    request.session[request.GET["k"]] = json.loads(request.GET["v"])
    return HttpResponse(request.GET["v"])


def dump(request):
    """Prints all fields as one JSON object."""
    return JsonResponse(dict(request.session.items()))


def log_in(request):
    """Logs the user in, who is made if there is none. A real site asks for a password."""
    user, _ = get_user_model().objects.get_or_create(username=request.GET["user"])
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse(user.username)


def log_out(request):
    """Ends the session for good."""
    logout(request)
    return HttpResponse()


def me(request):
    """Prints who is logged in, in whichever app, or nothing."""
    return HttpResponse(request.session.pazzo.user)
