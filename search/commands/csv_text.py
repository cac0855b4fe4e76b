"""Rows as comma-separated values, for a spreadsheet or a script that reads no JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from search.commands.output import emit
from search.plain_json import plain


def emit_rows(
    document: object,
    rows: Sequence[Mapping[str, Any]],
    text: Callable[[], str],
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Prints the document as JSON, the rows as CSV, or the text that says the same.

    Raises:
        UsageError: both forms were asked for.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv were both given; one of them says in which form to print.")
    if as_csv:
        click.echo(csv_text(rows), nl=False)
    else:
        emit(document, text, as_json=as_json)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A heading and one line for each row; what a row lacks stays empty. The items of a list are joined by blanks."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "reason"))
    if any("reason" in row for row in rows):
        names.append("reason")  # a sentence, so the last
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(plain(value)) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else value
