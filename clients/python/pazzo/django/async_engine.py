"""The engine's methods for asyncio: the same flows, run as tasks."""

from __future__ import annotations

import sys
from typing import Any

from django.contrib import auth

from ..fields import MISSING
from ..flow import Flow
from . import expiry
from .config import get_manager


class AsyncEngine:
    """What SessionStore has for asyncio."""

    strict: bool
    TEST_COOKIE_NAME: str

    # What the methods below run is in engine.py.
    _get: Any
    _has: Any
    _set: Any
    _update: Any
    _pop: Any
    _set_default: Any
    _all: Any
    _flush: Any
    _cycle: Any
    _exists: Any
    _create: Any
    _save: Any
    _delete: Any

    async def _arun(self, flow: Flow[Any]) -> Any:
        return await get_manager().arun(flow)

    async def aget(self, key: str, default: Any = None) -> Any:
        value = await self._arun(self._get(key))
        return default if value is MISSING else value

    async def aset(self, key: str, value: Any) -> None:
        await self._arun(self._set(key, value))

    async def apop(self, key: str, default: Any = MISSING) -> Any:
        value = await self._arun(self._pop(key))
        if value is MISSING and default is MISSING:
            raise KeyError(key)
        return default if value is MISSING else value

    async def asetdefault(self, key: str, value: Any) -> Any:
        return await self._arun(self._set_default(key, value))

    async def aupdate(self, dict_: dict[str, Any]) -> None:
        await self._arun(self._update(dict(dict_)))

    async def ahas_key(self, key: str) -> bool:
        return bool(await self._arun(self._has(key)))

    async def akeys(self) -> Any:
        return (await self.aload()).keys()

    async def avalues(self) -> Any:
        return (await self.aload()).values()

    async def aitems(self) -> Any:
        return (await self.aload()).items()

    async def adelete_test_cookie(self) -> None:
        await self.apop(self.TEST_COOKIE_NAME)

    async def aset_expiry(self, value: Any) -> None:
        if value is None:
            await self.apop(expiry.NAME, None)
        else:
            await self.aset(expiry.NAME, expiry.value_of(value))

    async def aflush(self) -> None:
        await self._arun(self._flush())

    async def acycle_key(self) -> None:
        # See cycle_key().
        caller = getattr(auth, "aget_user", None)
        if self.strict and caller and sys._getframe(1).f_code is caller.__code__:
            return
        await self._arun(self._cycle())

    async def aexists(self, session_key: str | None) -> bool:
        return bool(await self._arun(self._exists(session_key)))

    async def acreate(self) -> None:
        await self._arun(self._create())

    async def asave(self, must_create: bool = False) -> None:
        await self._arun(self._save(must_create))

    async def adelete(self, session_key: str | None = None) -> None:
        await self._arun(self._delete(session_key))

    async def aload(self) -> dict[str, Any]:
        loaded: dict[str, Any] = await self._arun(self._all())
        return loaded

    async def _aget_session(self, no_load: bool = False) -> dict[str, Any]:
        return {} if no_load else await self.aload()
