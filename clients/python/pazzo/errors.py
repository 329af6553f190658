"""The errors of the package, by the names that the Go library gives them.

Each has ``status_code``, the HTTP status that suits it when nobody handles it.
"""

from __future__ import annotations


class PazzoError(Exception):
    """The base of all errors of this package."""

    status_code = 500


class OptionsError(PazzoError, ValueError):
    """Options are invalid. The text names each of them and what is allowed."""


class TokenError(PazzoError, ValueError):
    """The token was not made with one of our keys."""


class NoSessionError(PazzoError, LookupError):
    """There is no session here: the middleware or plugin is missing."""


class BatchError(PazzoError, ValueError):
    """The operations do not go together, or an operand is invalid. Nothing was sent."""


# Errors of a session as such.


class GoneError(PazzoError):
    """A write finds that the session has been destroyed."""

    status_code = 409


class SupersededError(PazzoError):
    """A write comes with a token from before a privilege change, such as a login.

    The request may be repeated with the new cookie.
    """

    status_code = 409


class ResponseStartedError(PazzoError):
    """A call needs to set the cookie and the response has started. Nothing was changed."""


class NotNavigationError(PazzoError):
    """Only a navigation may create a session (``Options.create_on_navigation``)."""

    status_code = 403


class InTransactionError(PazzoError):
    """A call that changes the session as a whole is made inside ``atomic``."""


# Errors of fields.


class ConflictError(PazzoError):
    """What was read has been changed by somebody else. Nothing was changed."""

    status_code = 409


class StaleFieldError(ConflictError):
    """A value that was changed in place is no longer what it was when it was read.

    ``fields`` names the fields; they keep what somebody else has written.
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        super().__init__(
            "changed in place here and written elsewhere meanwhile: " + ", ".join(fields)
        )
        self.fields = fields


class DecodeError(PazzoError, ValueError):
    """A field's value does not decode. It spoils that field only.

    ``field`` names it and ``text`` is its JSON text, which the message leaves out.
    """

    def __init__(self, field: str, text: bytes, why: str) -> None:
        super().__init__(f"cannot decode the field {field!r}: {why}")
        self.field = field
        self.text = text


class EncodeError(PazzoError, TypeError):
    """A value has no JSON form that every language reads. Nothing was sent."""

    status_code = 400


class NotIntegerError(PazzoError):
    """``add`` meets a field that is not an integer."""

    status_code = 400


class RangeError(PazzoError):
    """The operand or the result of ``add`` is beyond ±(2^53-1)."""

    status_code = 400


class NotListError(PazzoError):
    """``append`` or ``drain`` meets a field that is not an array."""

    status_code = 400


class FieldNameError(PazzoError, ValueError):
    """A field's name is not 1-256 bytes of valid UTF-8 without a leading NUL."""

    status_code = 400


class TooLargeError(PazzoError):
    """A name, a value or the record would pass its limit. Nothing was changed."""

    status_code = 413


# Errors of users.


class BlockedError(PazzoError):
    """The user is blocked."""

    status_code = 403


class TooManySessionsError(PazzoError):
    """The user has ``Options.max_per_user`` sessions, and ``when_full`` is ``"refuse"``."""

    status_code = 403


class MayEvictError(PazzoError):
    """The store may evict sessions and lists, so users' sessions may be missed.

    For Redis, set ``maxmemory-policy noeviction``, or accept it with
    ``Options.best_effort_users``.
    """


# Errors of the store. None is ever taken for an empty session.


class StoreError(PazzoError):
    """The base of the errors of the store."""

    status_code = 503


class UnavailableError(StoreError):
    """The store cannot be reached or refuses. Nothing was changed."""


class FullError(UnavailableError):
    """The store has no room. Nothing was changed."""


class OutcomeUnknownError(StoreError):
    """Contact was lost during a write: it may or may not have been executed.

    Pazzo never repeats a write by itself.
    """


class LayoutError(StoreError):
    """The session was written by a newer version of Pazzo. It is left as it is."""

    status_code = 500


class CorruptError(StoreError):
    """The store holds something that is not a session. It is left as it is."""

    status_code = 500
