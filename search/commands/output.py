"""What a command prints: text for a reader, or one JSON document for a program."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from search.plain_json import plain


def emit(document: object, text: Callable[[], str], *, as_json: bool) -> None:
    """Prints the document as JSON, or the text that says the same."""
    click.echo(json.dumps(plain(document), indent=2) if as_json else text())


def columns(rows: list[list[str]]) -> str:
    """Rows as text in columns of equal width, the first row being the heading; numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() or cell[:1] in "-+" else cell.ljust(width)
