"""An admin page with a user's sessions, each of which can be revoked.

::

    from pazzo.django.admin import UserSessionsMixin

    admin.site.unregister(User)

    @admin.register(User)
    class MyUserAdmin(UserSessionsMixin, UserAdmin):
        pass

The page is ``<user>/sessions/`` beside the user's own, which links to it as “Sessions”.
Who may change the user may revoke.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect

from .config import get_manager


class UserSessionsMixin:
    """Adds the page to the admin of users."""

    change_form_template = "pazzo/user_change_form.html"
    model: Any
    admin_site: Any

    def get_urls(self) -> list[URLPattern]:
        """Is called by the admin."""
        view = self.admin_site.admin_view(csrf_protect(self.sessions_view))
        own = path("<path:object_id>/sessions/", view, name=self._url_name())
        return [own, *super().get_urls()]  # type: ignore[misc]

    def _url_name(self) -> str:
        return f"{self.model._meta.app_label}_{self.model._meta.model_name}_sessions"

    def change_view(
        self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Shows the user's page, with a link to ours."""
        url = reverse(f"admin:{self._url_name()}", args=(object_id,))
        extra = kwargs.pop("extra_context", None) or {}
        kwargs["extra_context"] = extra | {"pazzo_sessions_url": url}
        return super().change_view(request, object_id, *args, **kwargs)  # type: ignore[misc,no-any-return]

    def sessions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lists the sessions, and revokes one or all upon POST."""
        user = self.get_object(request, unquote(object_id))  # type: ignore[attr-defined]
        if user is None:
            raise Http404
        if not self.has_change_permission(request, user):  # type: ignore[attr-defined]
            raise PermissionDenied
        name = user._meta.pk.value_to_string(user)
        if request.method == "POST":
            self._revoke(request, user, name)
            return HttpResponseRedirect(request.path)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Sessions of %s") % user,
            "opts": self.model._meta,
            "original": user,
            "sessions": get_manager().sessions(name),
        }
        return TemplateResponse(request, "pazzo/user_sessions.html", context)

    def _revoke(self, request: HttpRequest, user: Any, name: str) -> None:
        manager = get_manager()
        handle = request.POST.get("handle")
        if handle is None:
            count = manager.revoke_all(name)
        elif any(session.handle == handle for session in manager.sessions(name)):
            count = int(manager.revoke(handle))
        else:
            raise Http404  # it is not this user's
        what = _("%d session(s) revoked.") % count
        self.log_change(request, user, what)  # type: ignore[attr-defined]
        messages.success(request, what)
