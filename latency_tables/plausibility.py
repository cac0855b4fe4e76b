"""Whether the parts of a table can belong together. Tables that were measured anyhow pass; damaged ones do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latency_tables.curves import Curve, check_row
from spvit.errors import LatencyTableError

if TYPE_CHECKING:
    from latency_tables.table import LatencyTable

# The sum of its parts was 4 to 6 % off the dense model on CPUs; captured as a whole, a GPU's may be far below it.
_MAX_SUM_FACTOR = 5.0
_MAX_SCALE_FACTOR = 5.0
_MAX_ERROR_PERCENT = 1000.0


def check_plausible(table: LatencyTable) -> None:
    """Refuses a table whose whole model and parts contradict each other.

    Raises:
        LatencyTableError: naming the row and the column.
    """
    single = {"stem": table.stem, "head": table.head, "dense": table.dense, "reference": table.reference}
    for name, row in (single | {"pooling": table.pooling}).items():
        if row is not None:
            check_row(name, row, reference_ms=table.reference.median_ms)
    check = table.end_to_end
    if not 1.0 / _MAX_SCALE_FACTOR <= check.scale <= _MAX_SCALE_FACTOR:
        raise LatencyTableError(
            f"end_to_end, column scale: must lie in {1.0 / _MAX_SCALE_FACTOR:g} to {_MAX_SCALE_FACTOR:g}, "
            f"but is {check.scale:g}."
        )
    for column in ("p90_error_percent", "max_error_percent"):  # intervals are made of both
        error = getattr(check, column)
        if error > _MAX_ERROR_PERCENT:
            raise LatencyTableError(
                f"end_to_end, column {column}: must be at most {_MAX_ERROR_PERCENT:g}, but is {error:g}."
            )
    _check_sum(table)


def _check_sum(table: LatencyTable) -> None:
    whole, parts = table.dense.median_ms, sum_of_parts_ms(table)
    if not whole / _MAX_SUM_FACTOR <= parts <= whole * _MAX_SUM_FACTOR:
        raise LatencyTableError(
            f"dense, column median_ms: must be near the sum of its parts ({parts:.4g} ms for stem, {table.shape.depth} "
            f"blocks and head), but is {whole:.4g}."
        )


def sum_of_parts_ms(table: LatencyTable) -> float:
    """Stem, all blocks at the dense model's token counts, poolings and head, in milliseconds."""
    fixed = [row.median_ms for row in (table.stem, table.head, table.pooling) if row is not None]
    prefix, levels = table.shape.num_prefix_tokens, zip(table.levels, table.geometry.levels, strict=True)
    blocks = (level.num_blocks * _at(rows.blocks, prefix + level.num_patches) for rows, level in levels)
    return sum(fixed) + sum(blocks)


def _at(blocks: Curve, num_tokens: int) -> float:
    """Blocks are measured up to the dense model's count, some a little beyond it."""
    return next(row.median_ms for count, row in blocks.items() if count >= num_tokens)
