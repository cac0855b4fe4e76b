"""`[[search.enqueue]]` of an experiment file: starting points of the user's own. No Optuna, no torch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from search.domains import Scalar
from spvit.schedule import PruningSchedule
from trainers.frozen_config import FrozenConfig


class StartConfig(FrozenConfig):
    """One trial to train before the sampler is asked. What it leaves open is as the file's own tables say."""

    label: str = Field(default="", max_length=100, description="What the trial is called in tables and pictures.")
    keep_rates: tuple[float, ...] | None = Field(
        default=None, min_length=1, description="Cumulative keep rates, one for each selector."
    )
    blocks: tuple[int, ...] | None = Field(
        default=None, description="The block behind each selector; the usual ones of the space if absent."
    )
    params: dict[str, Scalar] = Field(
        default_factory=dict, description="Explored parameters by their names (`ratio`, `lr`, ...)."
    )

    @model_validator(mode="after")
    def _valid_schedule(self) -> Self:
        if self.blocks is not None and self.keep_rates is None:
            raise ValueError("blocks need keep_rates, one for each")
        if self.keep_rates is not None:
            PruningSchedule.from_keep_rates(self.keep_rates, self.blocks or range(len(self.keep_rates)))
        if self.keep_rates is None and not self.params:
            raise ValueError("a start needs keep_rates, params, or both")
        return self
