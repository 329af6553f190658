"""``_session_expiry``, the field in which Django keeps a session's own timeout."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from django.utils import timezone

from ..options import Timeouts
from ..whole import Expiry

NAME: Final = "_session_expiry"
# How soon, in seconds, a session ends whose time is over already.
AT_ONCE: Final = 0.001


def value_of(value: Any) -> Any:
    """Returns what Django keeps of an expiry: seconds, 0, or an ISO date."""
    if isinstance(value, dt.timedelta):
        value = timezone.now() + value
    return value.isoformat() if isinstance(value, dt.datetime) else value


def timeouts_of(value: Any, usual: Timeouts) -> Expiry:
    """Returns the record's timeouts for what the field holds."""
    if not value:
        return Expiry(until_browser_close=value == 0)
    if isinstance(value, str):
        end = dt.datetime.fromisoformat(value)
        now = timezone.now() if end.tzinfo else dt.datetime.now()
        left = max((end - now).total_seconds(), AT_ONCE)
        return Expiry(left, left)
    if value < 0:
        return Expiry(AT_ONCE, AT_ONCE)
    return Expiry(value, max(value, usual.absolute))
