"""`[progressive]` of an experiment file: the paper's progressive insertion of selectors. No torch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from trainers.frozen_config import FrozenConfig, OpenShare, Positive


class ProgressiveConfig(FrozenConfig):
    """The paper's progressive insertion of selectors, which `spvit-search progressive` runs to compare the search with.

    A step fine-tunes one schedule for a few epochs.
    """

    max_top1_drop: Positive = Field(
        default=0.5, description="Percentage points below the dense model that a step may reach."
    )
    keep_rate_step: OpenShare = Field(default=0.1, description="How much lower each next keep rate is.")
    lowest_keep_rate: OpenShare = 0.3
    first_block: int | None = Field(
        default=None, ge=0, description="The first block that may get a selector; a quarter of the depth if absent."
    )
    epochs_per_step: int = Field(default=1, ge=1)
    merge_below: OpenShare = Field(
        default=0.085, description="Neighbours whose keep rates differ by less become one stage at the end."
    )
    final_epochs: int | None = Field(
        default=None, ge=1, description="Epochs of the final training; training.epochs if absent."
    )

    @model_validator(mode="after")
    def _some_rate(self) -> Self:
        if self.keep_rate_step > 1.0 - self.lowest_keep_rate + 1e-9:
            raise ValueError(
                f"keep_rate_step must not exceed 1 - lowest_keep_rate, else no rate can be tried, but got "
                f"{self.keep_rate_step} with lowest_keep_rate {self.lowest_keep_rate}"
            )
        return self
