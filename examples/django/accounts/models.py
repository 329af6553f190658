"""Users whose name is their key, so that all apps on the domain call them alike."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A user. Pazzo's record holds the primary key."""

    username = models.CharField(max_length=150, primary_key=True)
