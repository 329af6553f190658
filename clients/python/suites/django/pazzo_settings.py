"""Django's settings for its tests, with our engine."""

import os

from test_sqlite import *  # noqa: F403

SESSION_ENGINE = "pazzo.django"
SESSION_SECRET_KEY = "a secret key for Django's own tests"
PAZZO_STORE = os.environ["PAZZO_STORE"]
TEST_RUNNER = "pazzo_runner.Runner"
