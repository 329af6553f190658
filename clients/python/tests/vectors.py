"""The vectors of the protocol, from the repository that this package is part of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PROTOCOL = ROOT / "protocol"


def load(file: str, part: str) -> list[Any]:
    return list(json.loads((PROTOCOL / file).read_text())[part])


def name(vector: dict[str, Any]) -> str:
    return str(vector.get("name", vector))[:60]
