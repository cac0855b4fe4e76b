"""Typed access to untrusted JSON, with errors that say where the wrong value stands."""

from __future__ import annotations

import math
from typing import Any

from spvit.errors import LatencyTableError


class Fields:
    """One JSON object of a latency table. Every reader raises LatencyTableError naming the place and the column."""

    def __init__(self, values: object, place: str) -> None:
        if not isinstance(values, dict):
            raise LatencyTableError(f"{place} must hold a JSON object, but holds {_shown(values)}.")
        self.values: dict[str, Any] = values
        self.place = place
        self._read: set[str] = set()

    def number(self, column: str) -> float:
        """A finite number."""
        value = self._get(column)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise self._wrong(column, "a finite number", value)
        return float(value)

    def optional_number(self, column: str) -> float | None:
        """A finite number or null."""
        return None if self._get(column) is None else self.number(column)

    def positive(self, column: str) -> float:
        """A finite number above 0."""
        value = self.number(column)
        if value <= 0.0:
            raise self._wrong(column, "above 0", value)
        return value

    def integer(self, column: str) -> int:
        """A whole number of at least 0."""
        value = self._get(column)
        if not _is_count(value):
            raise self._wrong(column, "a whole number of at least 0", value)
        return int(value)

    def optional_integer(self, column: str) -> int | None:
        """A whole number of at least 0, or null."""
        return None if self._get(column) is None else self.integer(column)

    def integers(self, column: str) -> tuple[int, ...]:
        """A list of whole numbers of at least 0."""
        value = self._get(column)
        if not isinstance(value, list) or not all(_is_count(item) for item in value):
            raise self._wrong(column, "a list of whole numbers of at least 0", value)
        return tuple(value)

    def text(self, column: str) -> str:
        """A string, maybe empty."""
        value = self._get(column)
        if not isinstance(value, str):
            raise self._wrong(column, "a string", value)
        return value

    def optional_text(self, column: str) -> str:
        """A string; empty where the column is absent."""
        return self.text(column) if self.has(column) else ""

    def texts(self, column: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._get(column)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(column, "a list of strings", value)
        return tuple(value)

    def nested(self, column: str) -> Fields:
        """A nested object."""
        return Fields(self._get(column), column)

    def rows(self, column: str) -> list[Fields]:
        """A list of objects, numbered from 1 in messages."""
        value = self._get(column)
        if not isinstance(value, list):
            raise self._wrong(column, "a list of rows", value)
        return [Fields(row, f"{column} row {number}") for number, row in enumerate(value, start=1)]

    def check_all_read(self) -> None:
        """Refuses columns that nobody asked for: a misspelt name, or a file of another version."""
        unknown = sorted(self.values.keys() - self._read)
        if unknown:
            raise LatencyTableError(f"{self.place} has unknown columns: {_shown(', '.join(unknown))}.")

    def has(self, column: str) -> bool:
        """Whether an optional column is there."""
        return column in self.values

    def _get(self, column: str) -> Any:
        self._read.add(column)
        if column not in self.values:
            raise LatencyTableError(f"{self.place} lacks the column {column}.")
        return self.values[column]

    def _wrong(self, column: str, required: str, value: object) -> LatencyTableError:
        return LatencyTableError(f"{self.place}, column {column}: must be {required}, but is {_shown(value)}.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of a float
        return False


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print whole numbers of more than 4300 digits
        text = "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."
