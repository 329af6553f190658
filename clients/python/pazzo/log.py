"""The logger ``pazzo``: the life cycle at DEBUG, trouble above it, by handle only."""

from __future__ import annotations

import logging

logger = logging.getLogger("pazzo")


def happened(event: str, handle: bytes) -> None:
    """Logs an event in the life of a session."""
    logger.debug("%s: session %s", event, handle.hex())


def trouble(what: str, handle: bytes, error: Exception) -> None:
    """Logs what went wrong beside a call that has succeeded."""
    logger.warning("%s: session %s: %s", what, handle.hex(), error)
