"""Values as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any


def plain(value: object) -> Any:
    """A value as JSON can hold it. Non-finite numbers become null: JSON has none."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Enum():
            return value.value
        case Path():
            return str(value)
        case _:
            return value
