"""The session as a request sees it: a mapping, and more.

Nothing is loaded before the first use, and every write takes effect when it returns. The
session is made by the first write; a request that only reads makes none. Each method has
a twin for asyncio, with an ``a`` in front of its name.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import TYPE_CHECKING, Any, TypeVar

from . import whole
from .async_session import AsyncMethods
from .atomic import Atomic, Transaction, atomically
from .fields import MISSING, UNKNOWN, Fields
from .http import Decision
from .info import Device, Info
from .state import RequestState
from .whole import Expiry

if TYPE_CHECKING:
    from .manager import Manager

T = TypeVar("T")


class Session(AsyncMethods, MutableMapping[str, Any]):
    """One visitor's session in one request.

    Reads find nothing in a session that has ended or was superseded; writes then raise
    GoneError or SupersededError. A store that fails raises StoreError.
    """

    def __init__(self, state: RequestState) -> None:
        self.state = state
        self.manager: Manager = state.manager
        self.fields = Fields(state)
        self.in_transaction = False

    def __repr__(self) -> str:
        return f"<session {self.state.current.handle.hex()}>" if self.state.live else "<session>"

    # The mapping.

    def __getitem__(self, name: str) -> Any:
        value = self._get(name)
        if value is MISSING:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        self.manager.run(self.fields.set(name, value))

    def __delitem__(self, name: str) -> None:
        if not self.manager.run(self.fields.delete([name])):
            raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.text(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.manager.run(self.fields.texts()))

    def __len__(self) -> int:
        return len(self.manager.run(self.fields.texts()))

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def get(self, name: str, default: Any = None) -> Any:
        """Returns a field's value, or default."""
        value = self._get(name)
        return default if value is MISSING else value

    def _get(self, name: str) -> Any:
        value = self.fields.loaded(name)
        return self.manager.run(self.fields.get(name)) if value is UNKNOWN else value

    def text(self, name: str) -> str | None:
        """Returns a field's JSON text as it was written, or None."""
        text = self.manager.run(self.fields.text(name))
        return None if text is None else text.decode()

    def keys(self) -> KeysView[str]:
        """Returns the names of all fields, as they are now."""
        return self.manager.run(self.fields.texts()).keys()

    def items(self) -> ItemsView[str, Any]:
        """Returns all fields, as they are now."""
        return self.manager.run(self.fields.all()).items()

    def values(self) -> ValuesView[Any]:
        """Returns the values of all fields, as they are now."""
        return self.manager.run(self.fields.all()).values()

    def update(  # type: ignore[override]
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **fields: Any
    ) -> None:
        """Gives several fields their values, all or none."""
        new = dict(other, **fields)
        if new:
            self.manager.run(self.fields.set_many(new))

    def pop(self, name: str, default: Any = MISSING) -> Any:
        """Removes a field and returns its value: of several callers, one finds it."""
        value = self.manager.run(self.fields.pop(name))
        if value is MISSING and default is MISSING:
            raise KeyError(name)
        return default if value is MISSING else value

    def popitem(self) -> tuple[str, Any]:
        """Removes some field; KeyError if there is none."""
        while names := list(self):
            value = self.manager.run(self.fields.pop(names[0]))
            if value is not MISSING:  # else somebody else was faster
                return names[0], value
        raise KeyError("the session is empty")

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Gives a field a value unless it has one, and returns the one that it has."""
        return self.set_if_absent(name, default)[0]

    def clear(self) -> None:
        """Removes all fields. The session itself stays, and so does who is logged in."""
        self.manager.run(self.fields.clear())

    # Operations that are exact under concurrency.

    def set_if_absent(self, name: str, value: Any) -> tuple[Any, bool]:
        """Gives a field a value unless it has one; returns its value, and if it is new."""
        return self.manager.run(self.fields.set_if_absent(name, value))

    def delete(self, *names: str) -> bool:
        """Removes fields, all at once; tells whether one was there."""
        return self.manager.run(self.fields.delete(names))

    def add(self, name: str, number: int = 1) -> int:
        """Adds to an integer (0 if there is no such field) and returns the sum.

        No addition is lost, and each costs one round trip. NotIntegerError is raised when
        the field holds something else, RangeError beyond ±(2^53-1).
        """
        return self.manager.run(self.fields.add(name, number))

    def append(self, name: str, value: Any) -> None:
        """Adds a value at the end of a list. NotListError for something else."""
        self.manager.run(self.fields.append(name, value))

    def drain(self, name: str) -> list[Any]:
        """Empties a list and returns it: each value goes to one caller."""
        return self.manager.run(self.fields.drain(name))

    def update_field(self, name: str, change: Callable[[Any], Any], missing: Any = None) -> Any:
        """Gives a field the value that *change* makes of its present one, and returns it.

        *missing* stands for a field that is not there. *change* may be called several
        times and must have no other effect. ConflictError after 64 attempts in vain.
        """
        return self.manager.run(self.fields.update(name, change, missing))

    def atomic(self) -> Atomic:
        """Begins a transaction, for ``with`` and ``async with``; see pazzo.atomic."""
        return Atomic(self)

    def atomically(self, change: Callable[[Transaction], T]) -> T:
        """Runs *change* in a transaction until it does not collide; returns its result.

        It may be called several times and must have no other effect. ConflictError after
        64 attempts in vain.
        """
        return self.manager.run(atomically(self, change))

    # The session as a whole.

    def renew(self) -> None:
        """Gives the session a new token and ends the older ones at once.

        Call it at any change of privilege that is not a login, such as a change of
        password. Without a session it does nothing. ResponseStartedError is raised when
        the cookie can no longer be set; nothing is changed then.
        """
        whole.may_renew(self.state, self.in_transaction)
        self.manager.run(whole.renew(self.state))

    def authenticate(self, user: str) -> None:
        """Logs a user in, when the app has verified who it is, a second time as well.

        The token is renewed and the timeouts begin anew. The fields stay, unless another
        user was logged in: then that session is destroyed and an empty one made.
        BlockedError, TooManySessionsError, MayEvictError, GoneError (the login was revoked
        while under way) and ResponseStartedError are raised.
        """
        whole.may_renew(self.state, self.in_transaction)
        self.manager.run(self.fields.authenticate(user))

    def destroy(self) -> bool:
        """Ends the session for good; tells whether there was one.

        Whatever is in flight with it gets GoneError. The same request may write again,
        which makes a new session.
        """
        whole.may_change(self.in_transaction)
        ended = self.manager.run(whole.destroy(self.state))
        self.fields.forget_all()
        return ended

    def destroy_if_empty(self) -> None:
        """Ends the session if it holds nothing and nobody is logged in."""
        self.manager.run(whole.destroy_if_empty(self.state))

    def set_expiry(
        self,
        idle: float | None = None,
        absolute: float | None = None,
        *,
        until_browser_close: bool = False,
    ) -> None:
        """Chooses how long this session lasts, in seconds from now, as for “remember me”.

        None is the timeout of the options. The choice stays over a later login. A session
        is made if there is none. OptionsError is raised for less than 1 s, over 10 years,
        or an idle timeout longer than the absolute one.
        """
        whole.may_change(self.in_transaction)
        expiry = Expiry(idle, absolute, until_browser_close)
        self.manager.run(whole.set_expiry(self.state, expiry))

    def set_device(self, ip: str = "", user_agent: str = "") -> None:
        """Records the browser's device, for the user's list of sessions."""
        self.manager.run(whole.set_device(self.state, Device(ip, user_agent)))

    def info(self) -> Info | None:
        """Asks the store about the session; None if there is none."""
        return self.manager.run(whole.info(self.state))

    @property
    def handle(self) -> str | None:
        """The session's public name, for logs and revocation; None if there is none.

        The store is asked unless this request has used the session already. With asyncio,
        use :meth:`ainfo` then.
        """
        if self.state.live:
            return self.state.current.handle.hex()
        info = self.info()
        return info.handle if info else None

    @property
    def user(self) -> str:
        """Who is logged in, by the store; "" if nobody is."""
        info = self.info()
        return info.user if info else ""

    @property
    def is_new(self) -> bool:
        """Whether this request has made the session."""
        return self.state.is_new

    @property
    def token(self) -> str:
        """The text that opens the session; "" if there is none.

        It is a secret: hand it to the client that the session belongs to and to nobody
        else.
        """
        out = self.state.out
        token = out.offer.token if out.offer else self.state.first
        return "" if out.forget or token is None else self.manager.keys.seal(token)

    # The end of the request, for middleware.

    def save(self) -> None:
        """Writes the values that were changed in place, each field on its own.

        StaleFieldError names those that somebody else has written since they were read
        (``Options.stale_fields``). Middleware calls it at the end of the request.
        """
        self.manager.run(self.fields.save())

    def finish(self) -> Decision:
        """Closes the response to cookies; returns what it is to say of ours, once."""
        return self.manager.run(self.state.finish())
