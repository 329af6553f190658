"""The published scripts, byte for byte. The SHA-1 of one is the protocol's version."""

from __future__ import annotations

import hashlib
from importlib.resources import files


class Script:
    """A script and its name for EVALSHA."""

    def __init__(self, file: str) -> None:
        self.source = files(__name__).joinpath(file).read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()


APPLY = Script("apply.lua")
INDEX = Script("index.lua")
