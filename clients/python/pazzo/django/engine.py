"""The session engine: Django's SessionBase over a pazzo.Session.

Every top-level write goes to the store at once; what was changed in place is written by
``save()``, each field on its own, if it is still what was read (StaleFieldError).

Made by our middleware, a store is *strict*: with a token that has ended or was superseded,
reads find nothing and writes raise GoneError or SupersededError. Otherwise it does what
Django's own middleware expects: such a token is as good as none, and a session that ends
under the request makes ``save()`` raise UpdateError.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError

from .. import whole
from ..errors import GoneError, SupersededError
from ..fields import MISSING, UNKNOWN
from ..flow import Flow, Pause
from ..http import NOTHING, Candidate, Decision, Request
from ..log import logger
from ..session import Session
from ..state import RequestState, State
from ..token import Token
from ..whole import Expiry
from . import expiry
from .async_engine import AsyncEngine
from .auth_fields import NAMES, AuthFields
from .config import get_manager

_REFUSED: Final = (GoneError, SupersededError)
# Django's own middleware tells nothing of the request.
_UNKNOWN_REQUEST: Final = Request(mode="unknown")


class SessionStore(AsyncEngine, SessionBase):  # type: ignore[misc]
    """The session of one request, or of a key."""

    def __init__(self, session_key: str | None = None, request: Request | None = None) -> None:
        super().__init__(session_key)
        self.strict = request is not None
        self._request = request or _UNKNOWN_REQUEST
        self._opened: Session | None = None
        self._opened_by: str | None = None  # the key
        self._auth = AuthFields()
        self._taken: Token | None = None  # is what _session_key was made from
        self._was_live = False
        self._lost = False

    @property
    def pazzo(self) -> Session:
        """The session beneath, with the operations that Django's lacks."""
        opened = self._opened
        if opened is None or self._opened_by != self._session_key:
            opened = self._open(self._session_key)
        return opened

    def _open(self, key: str | None) -> Session:
        opened = Session(RequestState(get_manager(), self._request, self._tokens(key)))
        self._opened, self._opened_by, self._taken = opened, key, None
        return opened

    def _tokens(self, key: str | None) -> list[Candidate] | None:
        """Returns the tokens to try; None for those in the request's cookies."""
        if self.strict and self._opened is None:
            return None
        opened = get_manager().keys.open(key) if key else None
        return [Candidate(*opened)] if opened else []

    # Flows. What a refused token means is settled here.

    def _use(self, use: Callable[[Session], Flow[Any]], refused: Any = None) -> Flow[Any]:
        """Uses the session; *refused* is the answer of one that is not there any more."""
        self.accessed = True
        if self._lost:
            return refused
        try:
            return (yield from use(self.pazzo))
        except _REFUSED:
            if self.strict:
                raise
            if self._was_live:
                self._lost = True
                return refused
            self._open(None)  # to Django, such a key is unknown
            self._session_key = None
            return (yield from use(self.pazzo))
        finally:
            self._take_key()

    def _take_key(self) -> None:
        """Takes over the key after a use, which may have made or renewed the session."""
        state = self.pazzo.state
        if state.live:
            self._was_live = True
            if self._taken is not state.current:
                self._taken = state.current
                self._session_key = state.manager.keys.seal(state.current)
        elif state.state is not State.UNOPENED:
            ended_by_others = not state.refusal.own
            if self._was_live and ended_by_others:
                self._lost = not self.strict
            else:
                self._session_key = None
                if ended_by_others and not self.strict:
                    self._open(None)  # to Django, such a key is unknown
        self._opened_by = self._session_key

    def _get(self, name: str) -> Flow[Any]:
        if name in NAMES:
            return self._use(lambda s: self._auth.get(s, name), MISSING)
        return self._use(lambda s: s.fields.get(name), MISSING)

    def _has(self, name: str) -> Flow[bool]:
        if name in NAMES:
            return (yield from self._get(name)) is not MISSING
        return (yield from self._use(lambda s: s.fields.text(name))) is not None

    def _set(self, name: str, value: Any) -> Flow[None]:
        self.modified = True
        if name in NAMES:
            return self._use(lambda s: self._auth.set(s, name, value))
        if name == expiry.NAME:
            return self._set_expiry(value)
        return self._use(lambda s: s.fields.set(name, value))

    def _update(self, new: dict[str, Any]) -> Flow[None]:
        self.modified = True
        plain = {n: value for n, value in new.items() if n not in (*NAMES, expiry.NAME)}
        if plain:
            yield from self._use(lambda s: s.fields.set_many(plain))
        for name in (*NAMES, expiry.NAME):  # in this order
            if name in new:
                yield from self._set(name, new[name])

    def _pop(self, name: str) -> Flow[Any]:
        yield from self._flush_auth()
        value = yield from self._use(lambda s: s.fields.pop(name), MISSING)
        self._auth.forget()
        if value is not MISSING:
            self.modified = True
            if name == expiry.NAME:
                yield from self._use(lambda s: whole.set_expiry(s.state, Expiry()))
        return value

    def _set_default(self, name: str, value: Any) -> Flow[Any]:
        if name in NAMES or name == expiry.NAME:
            present = yield from self._get(name)
            if present is MISSING:
                yield from self._set(name, value)
            return value if present is MISSING else present
        now, new = yield from self._use(
            lambda s: s.fields.set_if_absent(name, value), (value, True)
        )
        self.modified = self.modified or new
        return now

    def _all(self) -> Flow[dict[str, Any]]:
        yield from self._flush_auth()
        found: dict[str, Any] = yield from self._use(lambda s: s.fields.all(), {})
        return found

    def _clear(self) -> Flow[None]:
        self.modified = True
        self._auth.forget()
        yield from self._use(lambda s: s.fields.clear())

    def _flush_auth(self) -> Flow[None]:
        if self._auth.pending:
            yield from self._use(self._auth.flush)

    def end(self) -> Flow[None]:
        """Ends the request, for our middleware."""
        if self._opened is None:
            return
        yield from self._flush_auth()
        yield from self._opened.fields.save()
        if settings.SESSION_SAVE_EVERY_REQUEST and self._opened.state.live:
            self._opened.state.offer_again()

    def finish(self) -> Flow[Decision]:
        """Closes the response to cookies, for our middleware."""
        if self._opened is None:
            return NOTHING
        return (yield from self._opened.state.finish())

    def _set_expiry(self, value: Any) -> Flow[None]:
        """Sets the field that Django keeps it in, and the record's timeouts."""
        yield from self._use(lambda s: s.fields.set(expiry.NAME, value))
        chosen = expiry.timeouts_of(value, get_manager().options.timeouts)
        yield from self._use(lambda s: whole.set_expiry(s.state, chosen, least=1))
        if chosen.absolute == expiry.AT_ONCE:
            yield Pause(2 * expiry.AT_ONCE)

    def _create(self) -> Flow[None]:
        """Makes a new, empty session, whatever there was."""
        self._open(None)
        self._session_key, self._lost, self._was_live = None, False, False
        self.modified = True
        yield from self._use(lambda s: whole.create(s.state))

    def _save(self, must_create: bool) -> Flow[None]:
        yield from self._flush_auth()
        if not self._lost and not self.pazzo.fields.has_written:
            yield from self._use(lambda s: whole.info(s.state))  # is it still there?
        if self._lost:
            raise UpdateError("the session has ended")
        if not self.pazzo.state.live:
            yield from self._create()
        elif must_create and not self.pazzo.is_new:
            raise CreateError("the session is there already")
        else:
            yield from self._use(lambda s: s.fields.save())

    def _delete(self, key: str | None) -> Flow[None]:
        if key is None or key == self._session_key:
            self._auth.forget()
            try:
                yield from self._use(lambda s: whole.destroy(s.state))
            finally:
                self.pazzo.fields.forget_all()
            return
        other = _session_of(key)
        if other is not None:
            with contextlib.suppress(*_REFUSED):
                yield from whole.destroy(other.state)

    def _flush(self) -> Flow[None]:
        self.modified = True
        yield from self._delete(None)
        self._session_key = self._opened_by = None

    def _cycle(self) -> Flow[None]:
        self.modified = True
        yield from self._flush_auth()
        yield from self._use(lambda s: whole.info(s.state))
        if self.pazzo.state.live:
            yield from self._use(lambda s: whole.renew(s.state))
        elif not self.strict:
            yield from self._create()
        # Otherwise whatever is written next makes the session, if it may: login() does.

    def _exists(self, key: str | None) -> Flow[bool]:
        session = _session_of(key)
        return session is not None and (yield from whole.info(session.state)) is not None

    # Django's methods.

    def _run(self, flow: Flow[Any]) -> Any:
        return get_manager().run(flow)

    def _value(self, key: str) -> Any:
        """Returns a field's value, or MISSING, without a flow if it is here already."""
        opened = self._opened
        if opened is not None and self._opened_by == self._session_key:
            value = UNKNOWN if key in NAMES else opened.fields.loaded(key)
            if value is not UNKNOWN:
                self.accessed = True
                return value
        return self._run(self._get(key))

    def __getitem__(self, key: str) -> Any:
        value = self._value(key)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._run(self._set(key, value))

    def __delitem__(self, key: str) -> None:
        if self._run(self._pop(key)) is MISSING:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and bool(self._run(self._has(key)))

    def get(self, key: str, default: Any = None) -> Any:
        value = self._value(key)
        return default if value is MISSING else value

    def pop(self, key: str, default: Any = MISSING) -> Any:
        value = self._run(self._pop(key))
        if value is MISSING and default is MISSING:
            raise KeyError(key)
        return default if value is MISSING else value

    def setdefault(self, key: str, value: Any) -> Any:  # type: ignore[override]
        return self._run(self._set_default(key, value))

    def update(self, dict_: dict[str, Any]) -> None:  # type: ignore[override]
        self._run(self._update(dict(dict_)))

    def has_key(self, key: str) -> bool:
        return key in self

    def keys(self) -> Any:
        return self.load().keys()

    def values(self) -> Any:
        return self.load().values()

    def items(self) -> Any:
        return self.load().items()

    def clear(self) -> None:
        self._run(self._clear())

    def is_empty(self) -> bool:
        return not self._session_key

    def set_expiry(self, value: Any) -> None:
        if value is None:
            self.pop(expiry.NAME, None)
        else:
            self[expiry.NAME] = expiry.value_of(value)

    def flush(self) -> None:
        self._run(self._flush())

    def cycle_key(self) -> None:
        # get_user() does it on any request, when a SECRET_KEY_FALLBACKS verifies the
        # user's hash. Nobody's privileges change, and parallel requests would be logged
        # out. Only its caller tells it from a login or a change of password.
        if self.strict and sys._getframe(1).f_code is auth.get_user.__code__:
            return
        self._run(self._cycle())

    def exists(self, session_key: str | None) -> bool:
        return bool(self._run(self._exists(session_key)))

    def create(self) -> None:
        self._run(self._create())

    def save(self, must_create: bool = False) -> None:
        self._run(self._save(must_create))

    def delete(self, session_key: str | None = None) -> None:
        self._run(self._delete(session_key))

    def load(self) -> dict[str, Any]:
        loaded: dict[str, Any] = self._run(self._all())
        return loaded

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        return {} if no_load else self.load()

    _session = property(_get_session)

    @classmethod
    def clear_expired(cls) -> None:
        logger.warning("there is nothing to clear: the store drops a session when it expires")

    @classmethod
    async def aclear_expired(cls) -> None:
        cls.clear_expired()


def _session_of(key: str | None) -> Session | None:
    """Returns the session of a key; None if it is no token of ours."""
    manager = get_manager()
    opened = manager.keys.open(key) if key else None
    if opened is None:
        return None
    return Session(RequestState(manager, _UNKNOWN_REQUEST, [Candidate(*opened)]))
