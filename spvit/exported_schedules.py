"""Several schedules of one set of weights, each with the accuracy and the latency that it was certified with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from spvit.errors import CheckpointError, NothingFeasibleError
from spvit.schedule import PruningSchedule

SCHEDULES = "schedules"
"""Their key in an exported folder's description."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedSchedule:
    """A schedule of exported weights.

    Attributes:
        blocks: before which it drops tokens.
        keep_rates: the cumulative rate of each.
        val_top1: on the validation images, in percent.
        high_ms: upper end of the measured time of a batch.
    """

    blocks: tuple[int, ...]
    keep_rates: tuple[float, ...]
    val_top1: float
    high_ms: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.val_top1) and math.isfinite(self.high_ms)):
            raise ValueError(f"An exported schedule needs finite numbers, but got {self}.")

    @property
    def schedule(self) -> PruningSchedule:
        """As a value that a model runs under."""
        return PruningSchedule.from_keep_rates(self.keep_rates, self.blocks)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote."""
        return cls(
            blocks=tuple(values["blocks"]),
            keep_rates=tuple(values["keep_rates"]),
            val_top1=float(values["val_top1"]),
            high_ms=float(values["high_ms"]),
        )


def schedules_in(description: Mapping[str, Any]) -> tuple[ExportedSchedule, ...]:
    """The schedules that an exported folder names; none where it holds one model alone.

    Raises:
        CheckpointError: they are damaged.
    """
    try:
        return tuple(map(ExportedSchedule.from_dict, description.get(SCHEDULES, ())))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the schedules of an export need blocks, keep_rates, val_top1 and high_ms each, but came damaged "
            f"({type(error).__name__}: {error}); export the model again"
        ) from error


def best_within(schedules: Sequence[ExportedSchedule], max_latency_ms: float | None) -> ExportedSchedule:
    """The most accurate schedule within a latency (anywhere if None); of equals the fastest.

    Raises:
        NothingFeasibleError: none was certified to be within it.
    """
    limit_ms = math.inf if max_latency_ms is None else max_latency_ms
    within = [each for each in schedules if each.high_ms <= limit_ms]
    if not within:
        fastest_ms = min(each.high_ms for each in schedules)
        raise NothingFeasibleError(
            f"a schedule within {limit_ms:g} ms was asked for, but the fastest of the {len(schedules)} that were "
            f"exported takes up to {fastest_ms:.3f} ms; raise max_latency_ms, or export faster ones"
        )
    return max(within, key=lambda each: (each.val_top1, -each.high_ms))
