"""The app, for the system checks and the admin page's template."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class PazzoConfig(AppConfig):
    """Is found by ``"pazzo.django"`` in INSTALLED_APPS."""

    name = "pazzo.django"
    label = "pazzo"
    verbose_name = "Pazzo sessions"

    def ready(self) -> None:
        """Registers the system checks."""
        from .checks import check_settings

        checks.register(check_settings, checks.Tags.security)
