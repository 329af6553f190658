"""What the old Pazzo had under this name."""

from __future__ import annotations

import secrets
import string

_LETTERS = string.ascii_letters + string.digits


def get_secret_string(length: int = 64) -> str:
    """Returns a random text of letters and digits; a secret key needs 32 or more."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
