"""Curves of a latency table: rows by their number of tokens, and those of one level of a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from latency_tables.measurement import Measurement
from spvit.errors import LatencyTableError
from spvit.options import SelectorKind

Curve = Mapping[int, Measurement]

# More tokens can truly be faster, as kernels prefer multiples of 16: 47 tokens took 1.44 and 50 tokens 0.97 times the
# same reference (PyTorch's CPU attention, heads of 16 channels, batch 64). Twice as fast is a broken measurement.
_MONOTONE_SLACK = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelRows:
    """What blocks and selections cost in one level: between two poolings all blocks are of one width.

    Attributes:
        blocks: one block by the number of tokens that enter it.
        selections: by the table's own kind of selector; none where the level has a single patch.
        other_selections: by the other kinds.
    """

    blocks: Curve
    selections: Curve = field(default_factory=dict)
    other_selections: Mapping[SelectorKind, Curve] = field(default_factory=dict)

    def check(self, *, num_prefix_tokens: int, num_patches: int, prefix: str = "") -> None:
        """Refuses curves that cannot be.

        Args:
            num_prefix_tokens: class and register tokens of the backbone.
            num_patches: patches of the level.
            prefix: of the curves' names in messages.

        Raises:
            LatencyTableError: naming the curve and the row.
        """
        largest = num_prefix_tokens + num_patches
        check_curve(f"{prefix}blocks", self.blocks, num_prefix_tokens + 1, largest)
        if num_patches == 1 and not self.selections:
            return  # nothing to select from
        for name, curve in self._selections():
            check_curve(f"{prefix}{name}", curve, num_prefix_tokens + 2, largest)

    def _selections(self) -> Iterator[tuple[str, Curve]]:
        yield "selections", self.selections
        for kind, curve in self.other_selections.items():
            yield f"selections of {kind}", curve


def check_curve(name: str, curve: Curve, smallest: int, largest: int) -> None:
    """Refuses a curve that does not reach from the smallest to the largest count, or that cannot be true.

    Raises:
        LatencyTableError: naming the curve and the row.
    """
    counts = list(curve)
    if len(counts) < 2:
        raise LatencyTableError(f"{name} needs at least 2 token counts, but has {len(counts)}.")
    if counts != sorted(counts):
        raise LatencyTableError(f"{name} must be in the order of num_tokens, but got {counts}.")
    # A single patch leaves nothing to select from; the curve then only has to reach the dense count.
    if counts[0] > min(smallest, largest - 1) or counts[-1] < largest or counts[0] < 1:
        raise LatencyTableError(
            f"{name} must reach from num_tokens={smallest} to num_tokens={largest}, "
            f"but covers {counts[0]} to {counts[-1]}."
        )
    for fewer, more in pairwise(counts):
        if curve[more].high_ms * _MONOTONE_SLACK < curve[fewer].low_ms:
            raise LatencyTableError(
                f"{name}: num_tokens={more} ({curve[more].median_ms:.4g} ms) cannot be faster than "
                f"num_tokens={fewer} ({curve[fewer].median_ms:.4g} ms); the measurement was disturbed."
            )
