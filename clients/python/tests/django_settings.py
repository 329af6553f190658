"""A small Django project's settings."""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "django's key, which has 32 bytes or more",
    "ROOT_URLCONF": "django_project",
    "ALLOWED_HOSTS": ["*"],
    "USE_TZ": True,
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "INSTALLED_APPS": [
        "pazzo.django",
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
    ],
    "MIDDLEWARE": [
        "pazzo.django.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "SESSION_ENGINE": "pazzo.django",
    "SESSION_COOKIE_SECURE": True,
    "SILENCED_SYSTEM_CHECKS": [],
}
