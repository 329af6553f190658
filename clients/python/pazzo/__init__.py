"""Pazzo: web sessions that stay correct under concurrency.

::

    manager = pazzo.Manager("redis://localhost:6379/0", pazzo.Options(secret_keys=(key,)))

See pazzo.django, pazzo.flask, pazzo.bottle, pazzo.wsgi and pazzo.asgi for frameworks.
"""

from __future__ import annotations

from .atomic import Atomic, Transaction
from .batch import Limits
from .errors import (
    BatchError,
    BlockedError,
    ConflictError,
    CorruptError,
    DecodeError,
    EncodeError,
    FieldNameError,
    FullError,
    GoneError,
    InTransactionError,
    LayoutError,
    MayEvictError,
    NoSessionError,
    NotIntegerError,
    NotListError,
    NotNavigationError,
    OptionsError,
    OutcomeUnknownError,
    PazzoError,
    RangeError,
    ResponseStartedError,
    StaleFieldError,
    StoreError,
    SupersededError,
    TokenError,
    TooLargeError,
    TooManySessionsError,
    UnavailableError,
)
from .http import Request
from .info import Device, Info
from .manager import Manager
from .options import AAL1, AAL2, AAL3, Cookie, Options, Timeouts
from .session import Session
from .values import JSON

__version__ = "0.1.0"

__all__ = [
    "AAL1",
    "AAL2",
    "AAL3",
    "JSON",
    "Atomic",
    "BatchError",
    "BlockedError",
    "ConflictError",
    "Cookie",
    "CorruptError",
    "DecodeError",
    "Device",
    "EncodeError",
    "FieldNameError",
    "FullError",
    "GoneError",
    "InTransactionError",
    "Info",
    "LayoutError",
    "Limits",
    "Manager",
    "MayEvictError",
    "NoSessionError",
    "NotIntegerError",
    "NotListError",
    "NotNavigationError",
    "Options",
    "OptionsError",
    "OutcomeUnknownError",
    "PazzoError",
    "RangeError",
    "Request",
    "ResponseStartedError",
    "Session",
    "StaleFieldError",
    "StoreError",
    "SupersededError",
    "Timeouts",
    "TokenError",
    "TooLargeError",
    "TooManySessionsError",
    "Transaction",
    "UnavailableError",
]
