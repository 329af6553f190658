from __future__ import annotations

from typing import Any

import pytest

from pazzo.token import Keyring, Token, derive_key
from vectors import load, name


@pytest.mark.parametrize("vector", load("token.json", "keys"), ids=lambda v: v["secret_key"][:20])
def test_derived_key(vector: dict[str, Any]) -> None:
    assert derive_key(vector["secret_key"]).hex() == vector["derived"]


@pytest.mark.parametrize("vector", load("token.json", "valid"), ids=name)
def test_valid(vector: dict[str, Any]) -> None:
    ring = Keyring(vector["secret_keys"])
    token = Token(
        bytes.fromhex(vector["handle"]), vector["generation"], bytes.fromhex(vector["secret"])
    )
    assert ring.open(vector["token"]) == (token, vector["signed_by"] > 0)
    assert ring.seal(token) == vector["reissued"]


@pytest.mark.parametrize("vector", load("token.json", "invalid"), ids=name)
def test_invalid(vector: dict[str, Any]) -> None:
    assert Keyring(vector["secret_keys"]).open(vector["token"]) is None


def test_a_token_shows_its_handle_only() -> None:
    token = Token(bytes(16), 1, bytes.fromhex("ab" * 16))
    assert "ab" not in repr(token)
