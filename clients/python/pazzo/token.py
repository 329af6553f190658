"""The token: what the cookie holds.

::

    base64url( handle 16 | generation 4 | secret 16 | mac 12 )

in 64 characters without padding. The mac is the front of HMAC-SHA256(K, "pazzo token 1" |
handle | generation | secret), and K is HKDF-SHA256 of the secret key's UTF-8 bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

_BODY = 16 + 4 + 16
_MAC = 12
TOKEN_CHARS = (_BODY + _MAC) * 4 // 3
_SPELLING = re.compile(f"[A-Za-z0-9_-]{{{TOKEN_CHARS}}}")
_KEY_INFO = b"pazzo token key 1"
_MAC_LABEL = b"pazzo token 1"


class Token(NamedTuple):
    """A verified token. ``handle`` is public, ``secret`` is not."""

    handle: bytes
    generation: int
    secret: bytes

    def __repr__(self) -> str:
        return f"Token({self.handle.hex()})"


def new_handle() -> bytes:
    """Returns the name of a session that is to be made: 128 random bits."""
    return secrets.token_bytes(16)


def new_secret() -> bytes:
    """Returns the secret of a new generation: 128 random bits."""
    return secrets.token_bytes(16)


def derive_key(secret_key: str) -> bytes:
    """HKDF-SHA256 (RFC 5869) of one secret key, without salt, 32 bytes."""
    extracted = hmac.digest(bytes(32), secret_key.encode(), "sha256")
    return hmac.digest(extracted, _KEY_INFO + b"\x01", "sha256")


class Keyring:
    """Signs tokens with its first key and verifies them with all."""

    def __init__(self, secret_keys: Iterable[str]) -> None:
        # An HMAC whose key is already absorbed costs a copy instead of two blocks.
        self._macs = [hmac.new(derive_key(k), _MAC_LABEL, hashlib.sha256) for k in secret_keys]

    def _mac(self, key: int, body: bytes) -> bytes:
        mac = self._macs[key].copy()
        mac.update(body)
        return mac.digest()[:_MAC]

    def seal(self, token: Token) -> str:
        """Returns the token as text."""
        body = token.handle + token.generation.to_bytes(4, "big") + token.secret
        return base64.urlsafe_b64encode(body + self._mac(0, body)).decode()

    def open(self, text: str) -> tuple[Token, bool] | None:
        """Verifies a text.

        Returns its token and whether it was signed with an older key than the first, or
        None for anything that we did not make.
        """
        if not _SPELLING.fullmatch(text):
            return None
        raw = base64.urlsafe_b64decode(text)
        body, mac = raw[:_BODY], raw[_BODY:]
        for key in range(len(self._macs)):
            if hmac.compare_digest(self._mac(key, body), mac):
                token = Token(body[:16], int.from_bytes(body[16:20], "big"), body[20:])
                return token, key > 0
        return None
