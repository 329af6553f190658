"""Django's tests of a session engine, on ours."""

from django.test import SimpleTestCase
from sessions_tests.tests import SessionTestsMixin

from pazzo.django import SessionStore


class PazzoSessionTests(SessionTestsMixin, SimpleTestCase):
    backend = SessionStore


del SessionTestsMixin  # or it would be collected by itself
