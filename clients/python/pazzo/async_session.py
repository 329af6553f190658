"""The methods of Session for asyncio: the same, with an ``a`` in front of the name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from . import whole
from .atomic import atomically
from .fields import MISSING, Fields
from .http import Decision
from .info import Device, Info
from .state import RequestState
from .whole import Expiry

if TYPE_CHECKING:
    from .atomic import Transaction
    from .manager import Manager

T = TypeVar("T")


class AsyncMethods:
    """What Session has for asyncio. The docstrings are those of the twins."""

    state: RequestState
    manager: Manager
    fields: Fields
    in_transaction: bool

    async def aget(self, name: str, default: Any = None) -> Any:
        """Is :meth:`Session.get`."""
        value = await self.manager.arun(self.fields.get(name))
        return default if value is MISSING else value

    async def atext(self, name: str) -> str | None:
        """Is :meth:`Session.text`."""
        text = await self.manager.arun(self.fields.text(name))
        return None if text is None else text.decode()

    async def aset(self, name: str, value: Any) -> None:
        """Gives a field a value."""
        await self.manager.arun(self.fields.set(name, value))

    async def acontains(self, name: str) -> bool:
        """Whether there is such a field."""
        return await self.atext(name) is not None

    async def akeys(self) -> list[str]:
        """Returns the names of all fields."""
        return list(await self.manager.arun(self.fields.texts()))

    async def aall(self) -> dict[str, Any]:
        """Returns all fields."""
        return await self.manager.arun(self.fields.all())

    async def aupdate(self, new: Mapping[str, Any]) -> None:
        """Is :meth:`Session.update`."""
        if new:
            await self.manager.arun(self.fields.set_many(new))

    async def apop(self, name: str, default: Any = MISSING) -> Any:
        """Is :meth:`Session.pop`."""
        value = await self.manager.arun(self.fields.pop(name))
        if value is MISSING and default is MISSING:
            raise KeyError(name)
        return default if value is MISSING else value

    async def asetdefault(self, name: str, default: Any = None) -> Any:
        """Is :meth:`Session.setdefault`."""
        return (await self.aset_if_absent(name, default))[0]

    async def aset_if_absent(self, name: str, value: Any) -> tuple[Any, bool]:
        """Is :meth:`Session.set_if_absent`."""
        return await self.manager.arun(self.fields.set_if_absent(name, value))

    async def adelete(self, *names: str) -> bool:
        """Is :meth:`Session.delete`."""
        return await self.manager.arun(self.fields.delete(names))

    async def aclear(self) -> None:
        """Is :meth:`Session.clear`."""
        await self.manager.arun(self.fields.clear())

    async def aadd(self, name: str, number: int = 1) -> int:
        """Is :meth:`Session.add`."""
        return await self.manager.arun(self.fields.add(name, number))

    async def aappend(self, name: str, value: Any) -> None:
        """Is :meth:`Session.append`."""
        await self.manager.arun(self.fields.append(name, value))

    async def adrain(self, name: str) -> list[Any]:
        """Is :meth:`Session.drain`."""
        return await self.manager.arun(self.fields.drain(name))

    async def aupdate_field(
        self, name: str, change: Callable[[Any], Any], missing: Any = None
    ) -> Any:
        """Is :meth:`Session.update_field`."""
        return await self.manager.arun(self.fields.update(name, change, missing))

    async def aatomically(self, change: Callable[[Transaction], T]) -> T:
        """Is :meth:`Session.atomically`."""
        return await self.manager.arun(atomically(self, change))

    async def arenew(self) -> None:
        """Is :meth:`Session.renew`."""
        whole.may_renew(self.state, self.in_transaction)
        await self.manager.arun(whole.renew(self.state))

    async def aauthenticate(self, user: str) -> None:
        """Is :meth:`Session.authenticate`."""
        whole.may_renew(self.state, self.in_transaction)
        await self.manager.arun(self.fields.authenticate(user))

    async def adestroy(self) -> bool:
        """Is :meth:`Session.destroy`."""
        whole.may_change(self.in_transaction)
        ended = await self.manager.arun(whole.destroy(self.state))
        self.fields.forget_all()
        return ended

    async def aset_expiry(
        self,
        idle: float | None = None,
        absolute: float | None = None,
        *,
        until_browser_close: bool = False,
    ) -> None:
        """Is :meth:`Session.set_expiry`."""
        whole.may_change(self.in_transaction)
        expiry = Expiry(idle, absolute, until_browser_close)
        await self.manager.arun(whole.set_expiry(self.state, expiry))

    async def aset_device(self, ip: str = "", user_agent: str = "") -> None:
        """Is :meth:`Session.set_device`."""
        await self.manager.arun(whole.set_device(self.state, Device(ip, user_agent)))

    async def ainfo(self) -> Info | None:
        """Is :meth:`Session.info`."""
        return await self.manager.arun(whole.info(self.state))

    async def asave(self) -> None:
        """Is :meth:`Session.save`."""
        await self.manager.arun(self.fields.save())

    async def afinish(self) -> Decision:
        """Is :meth:`Session.finish`."""
        return await self.manager.arun(self.state.finish())
