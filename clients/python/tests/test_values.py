from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest

from pazzo import JSON, DecodeError, EncodeError, FieldNameError, TooLargeError
from pazzo.batch import Limits, check_name
from pazzo.values import compact, decode, encode
from vectors import load, name

UTC = dt.timezone.utc


@pytest.mark.parametrize("vector", load("text.json", "valid"), ids=lambda v: repr(v["text"]))
def test_valid_text(vector: dict[str, Any]) -> None:
    kept = vector["kept"].encode()
    assert compact(vector["text"].encode()) == kept
    assert encode("f", JSON(vector["text"])) == kept


@pytest.mark.parametrize("vector", load("text.json", "invalid"), ids=name)
def test_invalid_text(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        compact(raw)
    with pytest.raises(EncodeError):
        encode("f", JSON(raw.decode("utf-8", "surrogateescape")))


@pytest.mark.parametrize("vector", load("text.json", "names"), ids=lambda v: v["hex"][:20])
def test_name(vector: dict[str, Any]) -> None:
    field = bytes.fromhex(vector["hex"]).decode("utf-8", "surrogateescape")
    errors = {"name": FieldNameError, "too large": TooLargeError}
    if "error" in vector:
        with pytest.raises(errors[vector["error"]]):
            check_name(field, Limits())
    else:
        check_name(field, Limits())


VALUES = [
    (None, "null"),
    (True, "true"),
    (0, "0"),
    (2**80, str(2**80)),
    (1.5, "1.5"),
    ("é<\u2028", '"é<\u2028"'),
    ([1, [2]], "[1,[2]]"),
    ({"b": 1, "a": {}}, '{"b":1,"a":{}}'),
    (dt.datetime(2026, 11, 24, 21, 0), '{"$datetime":"2026-11-24T21:00:00"}'),
    (
        dt.datetime(2026, 11, 24, 21, 0, 0, 1, tzinfo=UTC),
        '{"$datetime":"2026-11-24T21:00:00.000001+00:00"}',
    ),
    (dt.date(2026, 11, 24), '{"$date":"2026-11-24"}'),
    (dt.time(21, 0, 30), '{"$time":"21:00:30"}'),
    (Decimal("1.50"), '{"$decimal":"1.50"}'),
    (uuid.UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
    (b"\xff\0", '{"$bytes":"/wA="}'),
    ({3, 1}, '{"$set":[1,3]}'),
    ({"$date": "x"}, '{"$$date":"x"}'),
    ({"$$date": "x"}, '{"$$$date":"x"}'),
    ({"$other": "x"}, '{"$other":"x"}'),
    ({"$date": "x", "y": 1}, '{"$date":"x","y":1}'),
    ({"deep": [{"when": dt.date(2026, 1, 2), "tags": {"a"}}]},
     '{"deep":[{"when":{"$date":"2026-01-02"},"tags":{"$set":["a"]}}]}'),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), VALUES, ids=lambda v: str(v)[:30])
def test_round_trip(value: Any, text: str) -> None:
    assert encode("f", value).decode() == text
    again = decode("f", text.encode())
    assert again == value
    assert type(again) is type(value)


def test_a_tuple_is_a_list_afterwards() -> None:
    assert decode("f", encode("f", (1, (2,)))) == [1, [2]]


def test_go_writes_z() -> None:
    assert decode("f", b'{"$datetime":"2026-11-24T21:00:00Z"}') == dt.datetime(
        2026, 11, 24, 21, tzinfo=UTC
    )


class Strange:
    pass


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "value",
    [
        Strange(), {"a": [Strange()]}, {1: "a"}, {(1, 2): 3}, frozenset({1}), {(1, 2)},
        dt.timedelta(1), 1j, float("nan"), float("inf"), Decimal("NaN"), "\ud800", ["\udc00"], LOOP,
        range(3), object,
    ],
    ids=lambda v: repr(v)[:20],
)  # fmt: skip
def test_what_has_no_json_form(value: Any) -> None:
    with pytest.raises(TypeError, match="'cart'") as caught:
        encode("cart", value)
    assert isinstance(caught.value, EncodeError)


@pytest.mark.parametrize(
    "text",
    [b"", b"NaN", b"{", b'{"$date":"x"}', b'{"$set":1}', b'{"$set":[[]]}', b'{"$decimal":"x"}',
     b'{"$bytes":"*"}', b'{"$uuid":1}', b"\xff"],
)  # fmt: skip
def test_what_does_not_decode(text: bytes) -> None:
    with pytest.raises(DecodeError, match="'cart'") as caught:
        decode("cart", text)
    assert caught.value.text == text


def test_what_another_language_wrote_is_json_to_us() -> None:
    assert decode("f", b" [1]\n") == [1]
    assert decode("f", b'{"a":"\\u003c","b":1.0,"c":1e2}') == {"a": "<", "b": 1.0, "c": 100.0}
    assert json.loads(encode("f", {"a": "<", "b": 1.0})) == {"a": "<", "b": 1.0}
