"""Two tables row by row: is this machine the same as that one, and do two measurements of one machine agree? Pure.

Rows were measured as ratios to a reference block, and their intervals are those of ratios: milliseconds of two runs
also differ with the clock of the machine. So rows are compared as multiples of the reference, and references by
themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median

from latency_tables.named_rows import NamedRow, named_rows
from latency_tables.table import LatencyTable
from spvit.errors import LatencyTableError


@dataclass(frozen=True, kw_only=True, slots=True)
class RowRatio:
    """One row: the second table's time over the first's, with all that the intervals of both allow.

    `ratio`, `low` and `high` are of times as multiples of each table's reference. `num_tokens` is None for parts that
    have none, such as the stem.
    """

    part: str
    num_tokens: int | None
    first_ms: float
    second_ms: float
    ratio: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """The part, with its number of tokens."""
        return self.part if self.num_tokens is None else f"{self.part} at {self.num_tokens} tokens"

    @property
    def differs(self) -> bool:
        """Whether the two intervals have nothing in common: of equal parts about 2 in 100, at 90 % intervals."""
        return not self.low <= 1.0 <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A fact of the key or the device that is another one in the second table."""

    name: str
    first: str
    second: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TableComparison:
    """All rows that both tables have, the facts that differ, and how many rows only one of them has.

    `reference_ratio` is the second table's reference block over the first's, in milliseconds.
    """

    rows: tuple[RowRatio, ...]
    reference_ratio: float
    differences: tuple[Difference, ...]
    num_unmatched: int

    @property
    def median_ratio(self) -> float:
        """How much slower the second table is as a whole, in milliseconds."""
        return median(row.second_ms / row.first_ms for row in self.rows)

    @property
    def num_differing(self) -> int:
        """Rows that differ beyond their intervals."""
        return sum(row.differs for row in self.rows)


def compare_tables(first: LatencyTable, second: LatencyTable) -> TableComparison:
    """Compares rows of the same part at the same number of tokens.

    Raises:
        LatencyTableError: the tables have no row in common.
    """
    mine = {row.place: row for row in named_rows(first)}
    theirs = {row.place: row for row in named_rows(second)}
    common = [place for place in mine if place in theirs]
    if all(num_tokens is None for _, num_tokens in common):
        raise LatencyTableError(
            f"The tables have no curve in common: {first.key.backbone} at {list(first.blocks)} tokens and "
            f"{second.key.backbone} at {list(second.blocks)}. Compare tables of the same backbone."
        )
    reference_ratio = second.reference.median_ms / first.reference.median_ms
    return TableComparison(
        rows=tuple(_ratio(mine[place], theirs[place], reference_ratio) for place in common),
        reference_ratio=reference_ratio,
        differences=tuple(_differences(first, second)),
        num_unmatched=len(mine.keys() ^ theirs.keys()),
    )


def _ratio(mine: NamedRow, theirs: NamedRow, reference_ratio: float) -> RowRatio:
    first, second = mine.time, theirs.time
    return RowRatio(
        part=mine.part,
        num_tokens=mine.num_tokens,
        first_ms=first.median_ms,
        second_ms=second.median_ms,
        ratio=second.median_ms / first.median_ms / reference_ratio,
        low=second.low_ms / first.high_ms / reference_ratio,
        high=second.high_ms / first.low_ms / reference_ratio,
    )


def _differences(first: LatencyTable, second: LatencyTable) -> Iterator[Difference]:
    mine, theirs = _facts(first), _facts(second)
    for name, value in mine.items():
        if value != theirs[name]:
            yield Difference(name=name, first=value, second=theirs[name])


def _facts(table: LatencyTable) -> dict[str, str]:
    """What decides times, in words; the device's id says nothing that its fields do not."""
    key = {name: value for name, value in asdict(table.key).items() if name not in {"device_id", "shape"}}
    facts = key | {f"shape.{name}": value for name, value in asdict(table.shape).items()}
    facts |= {f"device.{name}": value for name, value in asdict(table.device).items()}
    facts |= {f"selector.{name}": value for name, value in asdict(table.selector).items()}
    return {name: _text(value) for name, value in (facts | {"protocol_version": table.protocol_version}).items()}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
