"""The app of the benchmark on Django, with the sessions that SESSIONS names."""

import os

from django.conf import settings

pazzo = os.environ["SESSIONS"] == "pazzo"
settings.configure(
    SECRET_KEY="k" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SESSION_ENGINE="pazzo.django" if pazzo else "django.contrib.sessions.backends.cache",
    PAZZO_STORE=os.environ["PAZZO_STORE"],
    PAZZO_OPTIONS={"reads": os.environ.get("READS", "request")},
    SESSION_SECRET_KEY="k" * 50,
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["BARE"],
        }
    },
    MIDDLEWARE=[
        "pazzo.django.SessionMiddleware"
        if pazzo
        else "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",  # sets Content-Length
    ],
)

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


def inc(request):
    k = request.GET["k"]
    if pazzo:
        return HttpResponse(request.session.pazzo.add(k, 1))
    request.session[k] = request.session.get(k, 0) + 1
    return HttpResponse(request.session[k])


def get(request):
    return HttpResponse(request.session.get(request.GET["k"], 0))


def mix(request):
    total = sum(request.session.get(f"f{i}", 0) for i in range(5))
    request.session[request.GET["k"]] = total + 1
    return HttpResponse(total)


def set_(request):
    request.session[request.GET["k"]] = int(request.GET["v"])
    return HttpResponse(request.GET["v"])


urlpatterns = [path("inc", inc), path("get", get), path("mix", mix), path("set", set_)]
app = get_wsgi_application()
