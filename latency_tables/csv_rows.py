"""Rows of a CSV file with latencies that were measured elsewhere, every cell checked (docs/latency_import.md).

The unit is part of a column's name (`median_ms`, `median_us`, `median_s`), so that no file is without one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from latency_tables.measurement import Measurement
from spvit.errors import LatencyTableError

UNKNOWN_SPREAD = 0.10
"""Half-width of the interval of a time that comes without one: plain medians are off by up to this on busy machines."""

_UNITS = {"s": 1000.0, "ms": 1.0, "us": 0.001}


class CsvForm(StrEnum):
    """What the rows of a file are: parts of a model, or one block at several keep ratios."""

    PARTS = "parts"
    KEEP_RATIOS = "keep_ratios"


_LABELS = {CsvForm.PARTS: ("part", "num_tokens"), CsvForm.KEEP_RATIOS: ("keep_ratio",)}
_TIMES = {CsvForm.PARTS: ("median", "low", "high"), CsvForm.KEEP_RATIOS: ("block", "low", "high")}
_NUM_SAMPLES = "num_samples"


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvRow:
    """One line: its time, and its other cells as text by the name of their columns."""

    line: int
    labels: dict[str, str]
    time: Measurement

    def wrong(self, column: str, required: str) -> LatencyTableError:
        """An error that names the line, the column and what stands there."""
        return _wrong(self.line, column, required, self.labels[column])

    def number(self, column: str) -> float:
        """A cell as a finite number.

        Raises:
            LatencyTableError: it is none.
        """
        return _number(self.line, column, self.labels[column])

    def integer(self, column: str) -> int:
        """A cell as a whole number of at least 1.

        Raises:
            LatencyTableError: it is none.
        """
        return _count(self.line, column, self.labels[column])


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvRows:
    """All lines of a file."""

    form: CsvForm
    rows: tuple[CsvRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    form: CsvForm
    unit: str
    columns: tuple[str, ...]

    def time_column(self, index: int) -> str:
        return f"{_TIMES[self.form][index]}_{self.unit}"


def read_rows(path: Path) -> CsvRows:
    """Reads a file; empty lines, and lines that begin with `#`, are passed over.

    Raises:
        LatencyTableError: the file cannot be read, has no units, or a cell cannot be; names the line and the column.
    """
    lines = list(_lines(path))
    if not lines:
        raise LatencyTableError("the file is empty.")
    _check_separator(*lines[0])
    _check_names(*lines[0])
    header = _header([cell.strip() for cell in lines[0][1]])
    rows = tuple(_row(header, number, cells) for number, cells in lines[1:])
    if not rows:
        raise LatencyTableError("there is a header but no rows.")
    return CsvRows(form=header.form, rows=rows)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise LatencyTableError("there is no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LatencyTableError(f"it cannot be read ({error}).") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip(", \t") and not line.startswith("#"):
            try:
                yield number, next(csv.reader([line], strict=True))
            except csv.Error as error:
                raise LatencyTableError(f"line {number}: it is not CSV ({error}).") from error


def _check_separator(line: int, cells: Sequence[str]) -> None:
    """Spreadsheets of many countries write semicolons, and commas into numbers."""
    for character, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(cells) == 1 and character in cells[0]:
            raise LatencyTableError(
                f"line {line}: columns are separated by {name}, but must be by commas; decimals have a point (1.5)."
            )


def _check_names(line: int, cells: Sequence[str]) -> None:
    """A first line of numbers is no header."""
    if any(cell.strip().replace(".", "", 1).isdigit() for cell in cells):
        raise LatencyTableError(
            f"line {line}: the names of the columns were required, but got {','.join(cells)[:60]!r}."
        )


def _header(names: Sequence[str]) -> _Header:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LatencyTableError(f"the columns {', '.join(twice)} appear twice.")
    form = CsvForm.KEEP_RATIOS if "keep_ratio" in names else CsvForm.PARTS
    header = _Header(form=form, unit=_unit(form, names), columns=tuple(names))
    required = (*_LABELS[form], header.time_column(0))
    allowed = (*required, header.time_column(1), header.time_column(2), _NUM_SAMPLES)
    if missing := [name for name in required if name not in names]:
        raise LatencyTableError(f"the header lacks the column {missing[0]}; the columns are {', '.join(allowed)}.")
    if unknown := [name for name in names if name not in allowed]:
        raise LatencyTableError(f"the header has an unknown column {unknown[0]!r}; there are {', '.join(allowed)}.")
    if (header.time_column(1) in names) != (header.time_column(2) in names):
        raise LatencyTableError("the header must have both ends of the interval, low and high, or none.")
    return header


def _unit(form: CsvForm, names: Sequence[str]) -> str:
    """The unit that all columns of times have in their names."""
    times = _TIMES[form]
    units = {name: name.rpartition("_")[2] for name in names if name.rpartition("_")[0] in times}
    bare = [name for name in names if name in times or units.get(name, "ms") not in _UNITS]
    if bare or not units:
        raise LatencyTableError(
            f"the column {(bare or [times[0]])[0]} has no unit. Name it {times[0]}_ms, {times[0]}_us or {times[0]}_s, "
            "as what was measured."
        )
    if len(set(units.values())) > 1:
        raise LatencyTableError(f"the columns {', '.join(units)} must have one unit.")
    return next(iter(units.values()))


def _row(header: _Header, line: int, cells: Sequence[str]) -> CsvRow:
    if len(cells) != len(header.columns):
        raise LatencyTableError(f"line {line}: has {len(cells)} cells, but there are {len(header.columns)} columns.")
    values = dict(zip(header.columns, (cell.strip() for cell in cells), strict=True))
    labels = {name: values[name] for name in _LABELS[header.form]}
    return CsvRow(line=line, labels=labels, time=_time(header, line, values))


def _time(header: _Header, line: int, values: dict[str, str]) -> Measurement:
    middle, low, high = (
        _positive_ms(line, name, values[name], _UNITS[header.unit]) if values.get(name) else None
        for name in map(header.time_column, range(3))
    )
    if middle is None:
        raise _wrong(line, header.time_column(0), "a number above 0", "")
    if (low is None) != (high is None):
        raise LatencyTableError(f"line {line}: must have both ends of the interval, low and high, or none.")
    num_samples = _count(line, _NUM_SAMPLES, values[_NUM_SAMPLES]) if values.get(_NUM_SAMPLES) else 1
    try:
        return Measurement(
            median_ms=middle,
            low_ms=middle * (1.0 - UNKNOWN_SPREAD) if low is None else low,
            high_ms=middle * (1.0 + UNKNOWN_SPREAD) if high is None else high,
            num_samples=num_samples,
        )
    except ValueError as error:
        raise LatencyTableError(f"line {line}: {error}") from error


def _positive_ms(line: int, column: str, text: str, factor: float) -> float:
    value = _number(line, column, text) * factor
    if value <= 0.0:
        raise _wrong(line, column, "a number above 0", text)
    return value


def _number(line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _wrong(line, column, "a finite number", text)
    return value


def _count(line: int, column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise _wrong(line, column, "a whole number of at least 1", text)
    return int(text)


def _wrong(line: int, column: str, required: str, text: str) -> LatencyTableError:
    return LatencyTableError(f"line {line}, column {column}: must be {required}, but is {text[:40]!r}.")
