"""What there is to know about a session beside its fields."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, NamedTuple

from .wire import Reply


class Device(NamedTuple):
    """What an app may record of the browser that a session belongs to."""

    ip: str = ""
    user_agent: str = ""

    def text(self) -> bytes:
        """Returns the JSON that every language reads; it must be under 1 KiB."""
        known = {name: value for name, value in self._asdict().items() if value}
        return json.dumps(known, ensure_ascii=False, separators=(",", ":")).encode()


class Info(NamedTuple):
    """A session as lists show it. Times are aware, by the store's clock."""

    handle: str
    user: str  # "" if nobody is logged in
    auth_time: dt.datetime | None  # of the last login
    created: dt.datetime
    touched: dt.datetime  # the last recorded activity
    idle: dt.timedelta
    deadline: dt.datetime  # the absolute end
    generation: int
    revision: int  # rises with every change; 0 if not known
    device: Device


def info_of(handle: bytes, reply: Reply) -> Info:
    """Returns what a reply to get identity tells."""
    meta = reply.live_meta()
    return Info(
        handle=handle.hex(),
        user=reply.user,
        auth_time=time_of(reply.authenticated) if reply.user else None,
        created=time_of(meta.created),
        touched=time_of(meta.touched),
        idle=dt.timedelta(milliseconds=meta.idle),
        deadline=time_of(meta.deadline),
        generation=meta.generation,
        revision=reply.revision,
        device=_device(reply.device),
    )


def time_of(ms: int) -> dt.datetime:
    """Returns a time of the store's, given in ms since 1970."""
    return dt.datetime.fromtimestamp(0, dt.timezone.utc) + dt.timedelta(milliseconds=ms)


def _device(text: bytes) -> Device:
    try:
        known: Any = json.loads(text) if text else {}
    except ValueError:
        return Device()  # another app may have written something else
    if not isinstance(known, dict):
        return Device()
    parts = (known.get(name, "") for name in Device._fields)
    return Device(*(part if isinstance(part, str) else "" for part in parts))
