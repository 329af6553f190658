"""The fields in which django.contrib.auth keeps who is logged in.

They are read in one batch and held for the request, and written together, with the
record's user, so that Go and other frameworks see who is logged in.
"""

from __future__ import annotations

from typing import Any, Final

from .. import whole
from ..fields import MISSING
from ..flow import Flow
from ..session import Session

USER_ID: Final = "_auth_user_id"
LAST_SET: Final = "_auth_user_hash"  # by login(), after the others
NAMES: Final = (USER_ID, "_auth_user_backend", LAST_SET)


class AuthFields:
    """The fields of one request."""

    def __init__(self) -> None:
        self._held: dict[str, Any] | None = None
        self._pending: dict[str, Any] = {}

    @property
    def pending(self) -> bool:
        """Whether something is to be written."""
        return bool(self._pending)

    def get(self, session: Session, name: str) -> Flow[Any]:
        """Returns a field's value, or MISSING."""
        if name in self._pending:
            return self._pending[name]
        if self._held is None:
            self._held = yield from session.fields.get_many(NAMES)
        return self._held.get(name, MISSING)

    def set(self, session: Session, name: str, value: Any) -> Flow[None]:
        """Keeps a value until the others are there, too."""
        self._pending[name] = value
        if name == LAST_SET:
            yield from self.flush(session)

    def flush(self, session: Session) -> Flow[None]:
        """Writes what was set: the user first, which renews the token."""
        pending, self._pending, self._held = self._pending, {}, None
        if USER_ID in pending:
            whole.may_renew(session.state, session.in_transaction)
            yield from session.fields.authenticate(str(pending[USER_ID]))
        if pending:
            yield from session.fields.set_many(pending)

    def forget(self) -> None:
        """Drops what is held and what was not written yet."""
        self._held = None
        self._pending.clear()
