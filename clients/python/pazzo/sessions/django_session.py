"""``SESSION_ENGINE = 'pazzo.sessions.django_session'``: the same as ``pazzo.django``."""

from __future__ import annotations

from ..django import SessionStore

__all__ = ["SessionStore"]
