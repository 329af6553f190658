"""The session's mapping and its exact operations, in both read modes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import pazzo
from pazzo import JSON, Manager, Session


@pytest.fixture(params=["live", "request"])
def manager(request: pytest.FixtureRequest, make: Callable[..., Manager]) -> Manager:
    return make(reads=request.param)


@pytest.fixture
def session(manager: Manager) -> Session:
    return manager.acquire()


def again(session: Session) -> Session:
    """The same session, in another request."""
    return session.manager.acquire(session.token)


def test_reads_make_no_session(session: Session) -> None:
    assert session.get("a") is None
    assert "a" not in session
    assert list(session) == []
    assert session.pop("a", 5) == 5
    assert session.handle is None
    assert session.info() is None
    assert session.token == ""
    with pytest.raises(KeyError):
        session["a"]


def test_mapping(session: Session) -> None:
    session["a"] = 1
    session.update({"b": [2]}, c="3")
    assert dict(session.items()) == {"a": 1, "b": [2], "c": "3"}
    assert sorted(session) == ["a", "b", "c"]
    assert len(session) == 3
    assert session.setdefault("a", 9) == 1
    assert session.setdefault("d", 9) == 9
    del session["d"]
    with pytest.raises(KeyError):
        del session["d"]
    other = again(session)
    assert {name: other[name] for name in other} == {"a": 1, "b": [2], "c": "3"}
    assert other.pop("c") == "3"
    other.clear()
    assert list(again(session)) == []


def test_popitem(session: Session) -> None:
    session.update({"a": None, "b": 2})
    assert sorted([session.popitem(), session.popitem()]) == [("a", None), ("b", 2)]
    with pytest.raises(KeyError):
        session.popitem()


def test_own_writes_are_seen(session: Session) -> None:
    session["a"] = 1
    assert session["a"] == 1
    session["a"] = 2
    assert session.get("a") == 2
    assert session.add("n", 5) == 5
    assert session["n"] == 5
    session.append("list", 1)
    assert session["list"] == [1]
    session.append("list", 2)
    assert session["list"] == [1, 2]
    assert session.drain("list") == [1, 2]
    assert "list" not in session
    assert dict(session.items()) == {"a": 2, "n": 5}
    session.clear()
    assert len(session) == 0


def test_exact_operations(session: Session) -> None:
    assert session.add("n") == 1
    assert session.add("n", -3) == -2
    assert session.set_if_absent("s", "x") == ("x", True)
    assert session.set_if_absent("s", "y") == ("x", False)
    assert session.update_field("u", lambda v: [*v, 1], missing=[]) == [1]
    assert session.update_field("u", lambda v: [*v, 2]) == [1, 2]
    assert session.delete("s", "u", "nothing")
    assert not session.delete("s")
    session["text"] = "x"
    for call in (lambda: session.add("text"), lambda: session.add("n", 2**53)):
        with pytest.raises((pazzo.NotIntegerError, pazzo.RangeError)):
            call()
    with pytest.raises(pazzo.NotListError):
        session.append("text", 1)
    with pytest.raises(pazzo.NotListError):
        session.drain("text")


def test_errors_name_the_field_before_anything_is_sent(session: Session) -> None:
    with pytest.raises(TypeError, match="'cart'"):
        session.update({"good": 1, "cart": object()})
    assert session.handle is None
    with pytest.raises(pazzo.FieldNameError):
        session[""] = 1
    with pytest.raises(pazzo.TooLargeError):
        session["big"] = "x" * (256 * 1024)
    assert session.handle is None


def test_one_bad_field_spoils_itself_only(session: Session) -> None:
    session["when"] = JSON('{"$date":"never"}')
    session["good"] = 1
    other = again(session)
    assert other["good"] == 1
    with pytest.raises(pazzo.DecodeError, match="'when'"):
        other["when"]
    assert other.text("when") == '{"$date":"never"}'
    other["when"] = 1
    assert again(session)["when"] == 1


def test_changes_in_place_are_saved_alone(session: Session) -> None:
    session["cart"] = ["apple"]
    session["other"] = 1
    one, two = again(session), again(session)
    one["cart"].append("pear")
    two["other"] = 2
    assert one["cart"] == ["apple", "pear"]
    one.save()
    assert again(session)["cart"] == ["apple", "pear"]
    assert again(session)["other"] == 2
    one.save()  # there is nothing more to save
    two["cart"] = []
    one.save()
    assert again(session)["cart"] == []


def test_a_change_in_place_after_an_assignment(session: Session) -> None:
    cart: list[str] = []
    session["cart"] = cart
    cart.append("apple")
    session.setdefault("tags", set()).add("x")
    session.save()
    assert again(session)["cart"] == ["apple"]
    assert again(session)["tags"] == {"x"}


def test_a_stale_change_in_place(session: Session) -> None:
    session["cart"] = ["apple"]
    one = again(session)
    one["cart"].append("pear")
    again(session)["cart"] = ["plum"]
    with pytest.raises(pazzo.StaleFieldError) as caught:
        one.save()
    assert caught.value.fields == ("cart",)
    assert again(session)["cart"] == ["plum"]
    assert one["cart"] == ["plum"]
    one.save()


def test_a_change_in_place_shows_over_a_later_snapshot(make: Any) -> None:
    session = make(reads="request").acquire()
    session["cart"] = ["apple"]
    one = again(session)
    one["cart"].append("pear")
    again(session)["cart"] = ["plum"]
    one.fields.invalidate()
    assert list(one) == ["cart"]  # which loads the session again
    assert one["cart"] == ["apple", "pear"]


def test_a_value_read_before_a_change_elsewhere_is_not_forgotten(make: Any) -> None:
    session = make().acquire()
    session["cart"] = ["apple"]
    one = again(session)
    held = one["cart"]
    again(session)["cart"] = ["plum"]
    assert one["cart"] == ["plum"]  # a live read
    held.append("pear")
    with pytest.raises(pazzo.StaleFieldError):
        one.save()


def test_overwriting_is_an_option(make: Callable[..., Manager]) -> None:
    session = make(stale_fields="overwrite").acquire()
    session["cart"] = ["apple"]
    one = again(session)
    one["cart"].append("pear")
    again(session)["cart"] = ["plum"]
    one.save()
    assert again(session)["cart"] == ["apple", "pear"]


def test_another_languages_text_is_no_change(session: Session) -> None:
    session["cart"] = JSON('{"a":"\\u003c","n":1.0,"e":1e2}')
    one = again(session)
    assert one["cart"] == {"a": "<", "n": 1.0, "e": 100.0}
    one.save()
    assert again(session).text("cart") == '{"a":"\\u003c","n":1.0,"e":1e2}'


def test_live_and_request_reads(make: Callable[..., Manager]) -> None:
    live, once = make(reads="live"), make(reads="request")
    session = live.acquire()
    session["a"] = 1
    one, two = live.acquire(session.token), once.acquire(session.token)
    assert (one["a"], two["a"]) == (1, 1)
    session["a"] = 2
    assert (one["a"], two["a"]) == (2, 1)
    assert two.add("a", 10) == 12
    assert two["a"] == 12


def test_one_pop_wins(session: Session) -> None:
    session["ticket"] = "x"
    won: list[Any] = []

    def take() -> None:
        won.append(again(session).pop("ticket", None))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won, key=str) == [None] * 7 + ["x"]


def test_transactions(session: Session) -> None:
    session.update({"from": 5, "to": 1, "list": [1]})
    with again(session).atomic() as tx:
        tx["to"] += tx["from"]
        del tx["from"]
        tx["list"].append(2)
        tx.add("moves", 1)
        tx.append("log", "moved")
        assert "from" not in tx
    assert dict(again(session).items()) == {
        "to": 6, "list": [1, 2], "moves": 1, "log": ["moved"],
    }  # fmt: skip


def test_a_transaction_that_fails_writes_nothing(session: Session) -> None:
    session["a"] = 1
    with pytest.raises(ZeroDivisionError), session.atomic() as tx:
        tx["a"] = 2
        1 / 0  # noqa: B018
    assert session["a"] == 1


def test_transactions_collide_on_what_they_read(session: Session) -> None:
    session.update({"a": 1, "b": 1})
    other = again(session)
    with session.atomic() as tx:
        tx["a"] = tx["a"] + 1
        other["b"] = 2
    with pytest.raises(pazzo.ConflictError), session.atomic() as tx:
        tx["a"] = tx["a"] + 1
        other["a"] = 7
    assert other["a"] == 7
    with pytest.raises(pazzo.ConflictError), session.atomic() as tx:
        tx["count"] = len(tx)
        other["c"] = 1
    tries = []

    def change(tx: pazzo.Transaction) -> None:
        tries.append(1)
        tx["a"] += 1
        if len(tries) == 1:
            other.add("a", 10)

    session.atomically(change)
    assert len(tries) == 2
    assert again(session)["a"] == 18


def test_not_inside_a_transaction(session: Session) -> None:
    session["a"] = 1
    with session.atomic() as tx:
        for call in (session.renew, session.destroy, lambda: session.authenticate("ann")):
            with pytest.raises(pazzo.InTransactionError):
                call()
        tx.add("n", 1)
        with pytest.raises(pazzo.BatchError):
            tx["n"]
    session.renew()


def test_renew_and_destroy(session: Session) -> None:
    session["a"] = 1
    old, handle = again(session), session.handle
    old_token = session.token
    assert old["a"] == 1
    session.renew()
    assert session.handle == handle
    assert session["a"] == 1
    assert again(session)["a"] == 1
    assert session.manager.acquire(old_token).get("a") is None
    for stale in (old, session.manager.acquire(old_token)):
        with pytest.raises(pazzo.SupersededError):
            stale["a"] = 2
    assert session.destroy()
    assert session.token == ""
    assert session.get("a") is None
    assert not session.destroy()
    session["b"] = 1  # the request itself may begin anew
    assert session.handle != handle


def test_set_expiry_and_device(session: Session) -> None:
    session.set_expiry(idle=60, absolute=120, until_browser_close=True)
    session.set_device("::1", "Browser/1")
    info = session.info()
    assert info is not None
    assert info.idle.total_seconds() == 60
    assert 118 < (info.deadline - info.created).total_seconds() < 122
    assert info.device == pazzo.Device("::1", "Browser/1")
    for idle, absolute in ((60, 30), (0.5, 60), (60, 1e10)):
        with pytest.raises(pazzo.OptionsError):
            session.set_expiry(idle, absolute)


def test_the_session_does_not_show_its_token(session: Session) -> None:
    session["a"] = 1
    assert session.token not in repr(session)
    assert session.handle is not None
    assert session.handle in repr(session)
    with pytest.raises(pazzo.TokenError):
        session.manager.acquire("x" * 64)


def test_an_update_nested_in_another(session: Session) -> None:
    session.update({"a": 1, "b": 1})

    def change(value: int) -> int:
        return value + int(again(session).update_field("b", lambda v: v + 1))

    assert session.update_field("a", change) == 3
    with pytest.raises(pazzo.ConflictError):  # soon, and not for ever
        session.update_field("a", lambda v: again(session).update_field("a", lambda v: v + 1))


def test_a_change_in_place_goes_before_other_operations(session: Session) -> None:
    session["list"] = [1]
    session["list"].append(2)
    session.append("list", 3)
    assert session["list"] == [1, 2, 3]
    session["list"].append(4)
    assert session.update_field("list", lambda v: [*v, 5]) == [1, 2, 3, 4, 5]
    session["list"].append(6)
    with session.atomic() as tx:
        tx["list"].append(7)
    session["list"].append(8)
    assert session.drain("list") == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("stale_fields", ["error", "overwrite"])
def test_nothing_of_one_user_is_saved_for_another(
    make: Callable[..., Manager], stale_fields: str
) -> None:
    session = make(stale_fields=stale_fields).acquire()
    session.authenticate("ann")
    session["cart"] = ["ann's"]
    held = session["cart"]
    session.authenticate("bob")
    held.append("more")
    session.save()
    assert "cart" not in again(session)
