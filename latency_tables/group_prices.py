"""What groups smaller than a batch cost: between tables of several batch sizes, never beyond them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from latency_tables.estimate import LatencyEstimates
from latency_tables.predictor import Predictor
from latency_tables.row_weights import Uses, within_measured
from latency_tables.table import LatencyTable
from spvit.bucketed_work import GroupWork
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind

_BLOCK, _LAST, _SELECTOR = "block", "last block", "selector"

_Use = tuple[int, int, float]
"""Number of the batch, tokens, share of what the table's whole batch costs."""


class GroupPrices:
    """Prices groups by tables that differ in nothing but their batch size.

    Args:
        table: of whole batches.
        others: of smaller ones.

    Raises:
        LatencyTableError: the tables are of different models, devices or ways of running.
    """

    def __init__(self, table: LatencyTable, others: Sequence[LatencyTable]) -> None:
        for other in others:
            if replace(other.key, batch_size=table.key.batch_size) != table.key:
                raise LatencyTableError(
                    f"Tables of several batch sizes must be alike in all else, but got {other.key} beside {table.key}."
                )
        self._whole = table.key.batch_size
        self._predictors = {t.key.batch_size: Predictor(t) for t in sorted((*others, table), key=_batch_size)}

    def batches(self, work: Iterable[GroupWork], num_batches: int, kind: SelectorKind | None) -> LatencyEstimates:
        """The latency of each batch (batches,): all that its groups do, and stem and head of the whole batch.

        The intervals of tables add up: what is wrong in one is likely to be so in the other.

        Args:
            work: of all batches.
            num_batches: how many there are.
            kind: of the selectors; the tables' own where it is None.

        Raises:
            LatencyTableError: no table is of so few images, or prices the selectors.
        """
        uses: dict[int, dict[str, list[_Use]]] = {size: defaultdict(list) for size in self._predictors}
        for step in work:
            for size, share in self._sizes(step.num_images):
                for part, number in _parts(step):
                    uses[size][part] += [(step.batch, step.num_tokens, share * number)]
        priced = [
            predictor.price(_arrays(uses[size], predictor, kind), num_batches, has_fixed=size == self._whole)
            for size, predictor in self._predictors.items()
        ]
        mean, low, high = (np.sum(bounds, axis=0) for bounds in zip(*priced, strict=True))
        return LatencyEstimates(mean_ms=mean, low_ms=low, high_ms=high)

    def _sizes(self, num_images: int) -> Iterator[tuple[int, float]]:
        """Batch sizes of the tables around a number of images, and their shares in its price."""
        sizes = list(self._predictors)
        if not sizes[0] <= num_images <= sizes[-1]:
            known = ", ".join(str(size) for size in sizes)
            raise LatencyTableError(
                f"What {num_images} images of a batch cost is unknown: the tables are for batches of {known}. Buckets "
                "need a table of batch size 1 as well: measure it with `spvit-search profile EXPERIMENT`."
            )
        right = max(1, bisect_left(sizes, num_images)) if len(sizes) > 1 else 0
        left = max(0, right - 1)
        share = (num_images - sizes[left]) / (sizes[right] - sizes[left]) if right else 1.0
        yield from ((sizes[i], part) for i, part in ((left, 1.0 - share), (right, share)) if part)


def _batch_size(table: LatencyTable) -> int:
    return table.key.batch_size


def _parts(step: GroupWork) -> Iterator[tuple[str, int]]:
    """What a group uses, how often."""
    if not step.num_blocks:
        yield _SELECTOR, 1
    if step.is_last:
        yield _LAST, 1
    if step.num_blocks - step.is_last:
        yield _BLOCK, step.num_blocks - step.is_last


def _arrays(uses: Mapping[str, Sequence[_Use]], predictor: Predictor, kind: SelectorKind | None) -> list[Uses]:
    level = predictor.levels[0]
    predictor.table.selections_of(kind)  # refuses a kind that was not measured
    selector = level.selections[kind or predictor.table.selector.kind]
    curves = {_BLOCK: level.blocks, _LAST: level.last or level.blocks, _SELECTOR: selector}
    made = []
    for part, used in uses.items():
        batches, num_tokens, shares = zip(*used, strict=True)
        use = Uses(
            curve=curves[part],
            plans=np.array(batches),
            num_tokens=np.array(num_tokens),
            shares=np.array(shares, dtype=np.float64),
        )
        made += [within_measured(use)]
    return made
