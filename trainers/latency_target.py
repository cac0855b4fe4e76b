"""What the latency term of a loss aims at: a latency table's curves and a budget, in plain numbers. No torch."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from spvit.errors import ConfigError
from spvit.options import SelectorKind
from trainers.frozen_config import FrozenConfig, NonNegative, Positive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latency_tables.measurement import Measurement
    from latency_tables.table import LatencyTable


class LatencyCurve(FrozenConfig):
    """Milliseconds of one part of a model by the number of tokens, linear between what was measured."""

    num_tokens: tuple[int, ...] = Field(min_length=2)
    times_ms: tuple[NonNegative, ...]

    @model_validator(mode="after")
    def _curve(self) -> Self:
        if len(self.num_tokens) != len(self.times_ms):
            raise ValueError(f"each of {len(self.num_tokens)} token counts needs a time, but got {len(self.times_ms)}")
        if any(after <= before for before, after in pairwise(self.num_tokens)):
            raise ValueError(f"token counts must rise, but got {self.num_tokens}")
        return self

    @classmethod
    def from_rows(cls, rows: Mapping[int, Measurement], scale: float) -> Self:
        """The medians of a table's rows, times `scale`."""
        return cls(num_tokens=tuple(rows), times_ms=tuple(scale * row.median_ms for row in rows.values()))


class LatencyTarget(FrozenConfig):
    """Copied into each trial that needs it, so that a worker elsewhere reads no file and a checkpoint knows its target.

    `fixed_ms` is what no selector can change: stem and head; `selections` has a curve for each kind of selector that
    was measured. `last_block` is the last block of a pruned model that computes its prefix tokens alone; none where it
    is a block like the others. All times are for one batch on the measured device.
    """

    budget_ms: Positive
    fixed_ms: NonNegative
    blocks: LatencyCurve
    selections: dict[SelectorKind, LatencyCurve]
    last_block: LatencyCurve | None = None

    def selections_of(self, kind: SelectorKind) -> LatencyCurve:
        """What selections by this kind of selector cost.

        Raises:
            ConfigError: the table was measured without it.
        """
        if kind not in self.selections:
            raise ConfigError(
                f"losses.latency needs to know what {kind} selectors cost, but the latency table has "
                f"{', '.join(self.selections)} only. Measure it anew with `spvit-search profile EXPERIMENT`."
            )
        return self.selections[kind]

    @classmethod
    def from_table(cls, table: LatencyTable, budget_ms: float) -> Self:
        """The target that a measured table and a budget make; sums agree with `latency_tables.predict`."""
        scale = table.end_to_end.scale
        return cls(
            budget_ms=budget_ms,
            fixed_ms=scale * (table.stem.median_ms + table.head.median_ms),
            blocks=LatencyCurve.from_rows(table.blocks, scale),
            selections={
                kind: LatencyCurve.from_rows(table.selections_of(kind), scale) for kind in table.selector_kinds
            },
            last_block=LatencyCurve.from_rows(table.last_blocks, scale) if table.last_blocks else None,
        )
