"""A test runner that writes down the outcome of each test."""

import json
import os
from pathlib import Path
from typing import Any

from django.test.runner import DiscoverRunner


class Runner(DiscoverRunner):
    """Is named by pazzo_settings.TEST_RUNNER."""

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        """Runs the tests, and writes the outcomes."""
        outcomes = {test.id(): True for test in suite}
        result = super().run_suite(suite, **kwargs)
        for test, _ in (*result.failures, *result.errors):
            outcomes[getattr(test, "test_case", test).id()] = False
        for test in result.unexpectedSuccesses:
            outcomes[test.id()] = False
        Path(os.environ["PAZZO_OUTCOMES"]).write_text(json.dumps(outcomes))
        return result
