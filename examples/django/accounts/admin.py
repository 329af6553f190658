"""The admin of users, with a page of each one's sessions."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from pazzo.django.admin import UserSessionsMixin

from .models import User


@admin.register(User)
class AccountAdmin(UserSessionsMixin, UserAdmin):
    """Django's admin of users, and the sessions."""
