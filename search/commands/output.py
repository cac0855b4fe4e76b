"""What a command prints: text for a reader, or one JSON document for a program."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import click


def emit(document: object, text: Callable[[], str], *, as_json: bool) -> None:
    """Prints the document as JSON, or the text that says the same."""
    click.echo(json.dumps(plain(document), indent=2) if as_json else text())


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


def columns(rows: list[list[str]]) -> str:
    """Rows as text in columns of equal width, the first row being the heading; numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() or cell[:1] in "-+" else cell.ljust(width)
