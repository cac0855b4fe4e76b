"""Whether a device is still as fast as its table says: a few points measured again before a search leans on them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from latency_tables.clock import clock_for
from latency_tables.engine import engine_for
from latency_tables.parts import Parts
from latency_tables.quiet import steady_process
from latency_tables.ratio import RatioEstimate, estimate_ratio
from latency_tables.table import LatencyTable
from latency_tables.timing import Interleaved, interleave

_NUM_ROUNDS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Time now over time in the table: 1.1 means that the device runs a tenth slower than when it was measured."""

    ratio: RatioEstimate

    def warning(self, *, tolerance: float = 0.15) -> str | None:
        """A sentence where the device surely differs by more than `tolerance` (0.15: 15 %), else nothing."""
        if self.ratio.low <= 1.0 + tolerance and self.ratio.high >= 1.0 - tolerance:
            return None
        return (
            f"This device now takes {self.ratio.median:.2f} times as long as its latency table says "
            f"(90 % interval {self.ratio.low:.2f} to {self.ratio.high:.2f}). If that lasts, measure it again with "
            "`spvit-search profile EXPERIMENT`; shares of the dense model's latency stay valid."
        )


def sentinel(
    table: LatencyTable,
    backbone: nn.Module,
    *,
    device: str = "cpu",
    num_rounds: int = _NUM_ROUNDS,
    time_limit_s: float = 10.0,
) -> Drift:
    """Measures a block (of the first level) again at the fewest, a middle and the most tokens of the table.

    Args:
        table: the table in question, which must belong to this device and backbone (see `check_table`).
        backbone: the model; it is copied, not touched.
        device: torch device.
        num_rounds: samples per point.
        time_limit_s: wall time to aim at.
    """
    key, counts = table.key, _three(table)
    parts = Parts(
        backbone,
        batch_size=key.batch_size,
        dtype=key.dtype,
        device=device,
        selector=table.selector,
        engine=engine_for(key.runtime, num_threads=key.num_threads),
    )
    with steady_process(key.num_threads):
        timed = interleave(
            {str(count): parts.block(count) for count in counts},
            parts.block(table.geometry.num_tokens),
            clock=clock_for(device, key.num_threads),
            num_rounds=num_rounds,
            time_limit_s=time_limit_s,
        )
    return drift_of(table, timed)


def drift_of(table: LatencyTable, timed: Interleaved) -> Drift:
    """The drift that samples of blocks, named by their token counts, show against the table."""
    return Drift(
        ratio=estimate_ratio(
            [
                1000.0 * seconds / table.blocks[int(count)].median_ms
                for count, samples in timed.workloads.items()
                for seconds in samples.seconds
            ]
        )
    )


def _three(table: LatencyTable) -> tuple[int, ...]:
    counts = list(table.blocks)
    return tuple(sorted({counts[0], counts[len(counts) // 2], counts[-1]}))
