"""The routes."""

from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("inc", views.inc),
    path("get", views.get),
    path("mix", views.mix),
    path("set", views.set_),
    path("dump", views.dump),
    path("login", views.log_in),
    path("logout", views.log_out),
    path("me", views.me),
    path("admin/", admin.site.urls),
]
