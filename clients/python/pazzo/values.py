"""Values of fields, as JSON that every language reads.

None, bool, int, float, str, list, tuple and dict with str keys are plain JSON; a tuple is
read back as a list. Types that JSON lacks are objects with one member, whose name tells
the type:

- datetime: ``{"$datetime":"2026-11-24T21:00:00+00:00"}``, ISO 8601, with the offset if it
  is aware; date and time: ``{"$date":"2026-11-24"}``, ``{"$time":"21:00:00"}``
- Decimal: ``{"$decimal":"1.50"}``; UUID: ``{"$uuid":"…"}``, 36 characters
- bytes: ``{"$bytes":"…"}``, base64 (RFC 4648, section 4)
- set: ``{"$set":[…]}``, sorted by the members' texts

Go and Node read these as the objects that they are, and write them the same way.

A dict of the app's own that looks like one of these gets one more ``$`` in front of the
name. Anything else is an :class:`EncodeError`, which is a TypeError, before anything is
sent. Integers are exact at any size; other numbers become floats, so who needs the digits
of ``1.50`` as another language wrote them reads the text (:meth:`Session.text`).
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from .errors import DecodeError, EncodeError

_LOOKS_TAGGED = re.compile(r"\$+(?:datetime|date|time|decimal|uuid|bytes|set)")
_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_SCALARS = frozenset((str, int, bool, float, type(None)))

_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class JSON(str):
    """A JSON text, to be stored as it is but for white space."""

    __slots__ = ()


def encode(field: str, value: Any) -> bytes:
    """Returns the JSON text of a value, or raises EncodeError, which names the field."""
    try:
        if type(value) is int:
            return b"%d" % value
        if isinstance(value, JSON):
            return compact(value.encode())
        return _write(value if type(value) in _SCALARS else _plain(value)).encode()
    except TypeError as error:
        raise EncodeError(f"cannot encode the field {field!r}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise EncodeError(f"cannot encode the field {field!r}: {_reason(error)}") from None


def decode(field: str, text: bytes) -> Any:
    """Returns the value of a JSON text, or raises DecodeError, which names the field."""
    try:
        return _read(text.decode())
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # The words of some errors quote the value, which does not belong into logs.
        raise DecodeError(field, text, type(error).__name__) from None


def compact(text: bytes) -> bytes:
    """Returns a JSON text without white space between its parts.

    ValueError is raised for what is not JSON (RFC 8259) in UTF-8, and for escapes of half
    a surrogate pair.
    """
    plain = text.decode()
    # Numbers stay texts here: only the grammar is checked, not the range.
    value = json.loads(plain, parse_int=str, parse_float=str, parse_constant=_refuse)
    json.dumps(value, ensure_ascii=False).encode()
    return _SPACE.sub(lambda m: m.group(1) or "", plain).encode()


def is_mutable(value: Any) -> bool:
    """Whether a decoded value can be changed in place."""
    return isinstance(value, (list, dict, set))


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else "it has no JSON form"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _plain(value: Any) -> Any:
    """Returns value with everything that JSON lacks replaced by its tagged form."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return _plain_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, Decimal)):
        return _plain_set(value) if isinstance(value, set) else _plain_decimal(value)
    if isinstance(value, dt.datetime):  # which is a date, too
        return {"$datetime": value.isoformat()}
    if isinstance(value, (dt.date, dt.time)):
        return {"$date" if isinstance(value, dt.date) else "$time": value.isoformat()}
    if isinstance(value, UUID):
        return {"$uuid": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _plain_dict(value: dict[Any, Any]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"a dict has the key {key!r}; keys must be str")
    if len(value) == 1:
        (key, item), *_ = value.items()
        if _LOOKS_TAGGED.fullmatch(key):
            return {"$" + key: _plain(item)}
    return {key: _plain(item) for key, item in value.items()}


def _plain_set(value: set[Any]) -> dict[str, Any]:
    for item in value:
        if isinstance(item, tuple):
            raise TypeError("a set has a tuple, which would be read back as a list")
    return {"$set": sorted((_plain(item) for item in value), key=_write)}


def _plain_decimal(value: Decimal) -> dict[str, str]:
    if not value.is_finite():
        raise ValueError("not a finite Decimal")
    return {"$decimal": str(value)}


def _datetime(text: str) -> dt.datetime:
    # Go writes Z, which Python 3.10 does not read.
    return dt.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


_readers: dict[str, Callable[[Any], Any]] = {
    "$datetime": _datetime,
    "$date": dt.date.fromisoformat,
    "$time": dt.time.fromisoformat,
    "$decimal": Decimal,
    "$uuid": UUID,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$set": set,
}


def _tagged(value: dict[str, Any]) -> Any:
    if len(value) != 1:
        return value
    ((key, item),) = value.items()
    if not key.startswith("$"):
        return value
    reader = _readers.get(key)
    if reader is not None:
        if not isinstance(item, list if key == "$set" else str):
            raise ValueError("a tagged value of another type")
        return reader(item)
    return {key[1:]: item} if _LOOKS_TAGGED.fullmatch(key) else value


_decoder = json.JSONDecoder(object_hook=_tagged, parse_constant=_refuse)


def _read(text: str) -> Any:
    if not text[:1].isspace():
        value, end = _decoder.raw_decode(text)
        if end == len(text):
            return value
    # Only another program writes white space around a text.
    return _decoder.decode(text)
