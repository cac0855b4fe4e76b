"""What a CSV file leaves out, assumed with intervals wide enough to hold the truth, and said in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latency_tables.counts import selection_counts
from latency_tables.csv_parts import CsvParts
from latency_tables.curves import Curve
from latency_tables.key import BackboneShape
from latency_tables.measurement import Measurement
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind

SELECTION_SHARES = {
    SelectorKind.MULTI_HEAD: 0.10,
    SelectorKind.PER_HEAD: 0.11,
    SelectorKind.SINGLE_HEAD: 0.16,
    SelectorKind.CLASS_ATTENTION: 0.03,
    SelectorKind.LIGHT: 0.01,
}
"""A selection's time over that of a block with as many tokens: deit_small, batch 1, one CPU thread (decision 19)."""

FIXED_SHARE = 0.03
"""Stem and head over the whole dense model: 2 to 4 % of DeiT's on a CPU."""

# Ends of an assumed interval, as multiples of what is assumed.
_LOW, _HIGH = 0.1, 2.0
# Where blocks take time in proportion to their tokens the middle would fall far below the upper end, which stays: what
# few tokens cost beside that is not known.
_LEAST_OF_HIGH = 0.1
# Blocks that are slower than the whole model by more than this contradict it.
_MAX_EXCESS = 0.10


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """All parts of a table, and what of them was assumed, in words."""

    blocks: Curve
    selections: dict[SelectorKind, Curve]
    stem: Measurement
    head: Measurement
    dense: Measurement
    assumed: tuple[str, ...]


def complete(parts: CsvParts, shape: BackboneShape, *, extends_blocks: bool) -> Completed:
    """Adds what is missing.

    Args:
        parts: what the file tells.
        shape: of the backbone.
        extends_blocks: whether blocks with fewer tokens than the file tells are assumed as well.

    Raises:
        LatencyTableError: the whole model is told to be faster than its blocks, or blocks as in the dense model are
            missing.
    """
    if shape.geometry.num_tokens not in parts.blocks:
        raise LatencyTableError(
            f"there is no row of a block at {shape.geometry.num_tokens} tokens, as in the dense model."
        )
    blocks, assumed = parts.blocks, list[str]()
    fewest = max(1, min(shape.smallest_num_tokens, shape.geometry.num_tokens - 1))
    if extends_blocks and next(iter(blocks)) > fewest:
        assumed.append(f"blocks with fewer than {next(iter(blocks))} tokens")
        blocks = {fewest: _fewest_tokens(blocks, fewest), **blocks}
    kinds = [kind for kind in SelectorKind if kind not in parts.selections]
    if kinds:
        assumed.append(f"selections of {', '.join(kinds)}")
    selections = parts.selections | {kind: _selections(kind, blocks, shape) for kind in kinds}
    stem, head = _fixed(parts, shape, assumed)
    dense = parts.dense
    if dense is None:
        assumed.append("the dense model, as the sum of its parts")
        dense = _sum([stem, head, *[blocks[shape.geometry.num_tokens]] * shape.depth])
    return Completed(blocks=blocks, selections=selections, stem=stem, head=head, dense=dense, assumed=tuple(assumed))


def _fewest_tokens(blocks: Curve, fewest: int) -> Measurement:
    """On the line through the two smallest counts, at most as slow as the smaller.

    At least in proportion to tokens, and at least a tenth of the upper end.
    """
    (first, row), (second, next_row) = list(blocks.items())[:2]
    slope = max(0.0, (next_row.median_ms - row.median_ms) / (second - first))
    proportional = row.median_ms * fewest / first
    line = row.median_ms - slope * (first - fewest)
    middle = min(row.median_ms, max(proportional, line, _LEAST_OF_HIGH * row.high_ms))
    low = max(middle * _LOW, min(proportional, middle))
    return Measurement(median_ms=middle, low_ms=low, high_ms=row.high_ms, num_samples=1)


def _selections(kind: SelectorKind, blocks: Curve, shape: BackboneShape) -> Curve:
    counts, share = selection_counts(shape), SELECTION_SHARES[kind]
    if not counts:
        raise LatencyTableError("the model has a single patch, so there is nothing to prune.")
    block_ms = np.interp(counts, list(blocks), [row.median_ms for row in blocks.values()])
    return {count: _guess(share * float(ms)) for count, ms in zip(counts, block_ms, strict=True)}


def _fixed(parts: CsvParts, shape: BackboneShape, assumed: list[str]) -> tuple[Measurement, Measurement]:
    """Stem and head: only their sum matters, so what is left of a whole model may be halved between them."""
    if parts.stem is not None and parts.head is not None:
        return parts.stem, parts.head
    both_ms = _both_fixed_ms(parts, shape)
    known = parts.stem or parts.head
    guess = _guess(both_ms / 2.0 if known is None else max(both_ms - known.median_ms, _LOW * both_ms))
    missing = [name for name, row in (("stem", parts.stem), ("head", parts.head)) if row is None]
    source = "" if parts.dense is None else ", as what the dense model takes beside its blocks"
    assumed.append(f"{' and '.join(missing)}{source}")
    return parts.stem or guess, parts.head or guess


def _both_fixed_ms(parts: CsvParts, shape: BackboneShape) -> float:
    """What the dense model takes beside its blocks, or a usual share of them where that is not known."""
    blocks_ms = shape.depth * parts.blocks[shape.geometry.num_tokens].median_ms
    if parts.dense is None:
        return FIXED_SHARE * blocks_ms
    whole_ms = parts.dense.median_ms
    if blocks_ms > (1.0 + _MAX_EXCESS) * whole_ms:
        raise LatencyTableError(
            f"the dense model takes {whole_ms:.4g} ms, but its {shape.depth} blocks alone {blocks_ms:.4g} ms."
        )
    return max(whole_ms - blocks_ms, FIXED_SHARE * blocks_ms)


def _guess(middle_ms: float) -> Measurement:
    return Measurement(median_ms=middle_ms, low_ms=_LOW * middle_ms, high_ms=_HIGH * middle_ms, num_samples=1)


def _sum(rows: list[Measurement]) -> Measurement:
    """Rows that err together."""
    return Measurement(
        median_ms=sum(row.median_ms for row in rows),
        low_ms=sum(row.low_ms for row in rows),
        high_ms=sum(row.high_ms for row in rows),
        num_samples=min(row.num_samples for row in rows),
    )
