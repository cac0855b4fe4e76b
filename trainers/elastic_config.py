"""One training for many schedules: which ones, and how a step learns from the one that it draws. No torch."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from trainers.frozen_config import FrozenConfig, NonNegative, Positive, Share


class ElasticTeacher(StrEnum):
    """What a drawn schedule learns from, beside the labels.

    ORIGINAL: the unpruned model as it was before the training.
    DENSE: the unpruned model as the training has made it so far.
    """

    ORIGINAL = "original"
    DENSE = "dense"


class ElasticConfig(FrozenConfig):
    """Makes a trial elastic: each step draws a schedule, so that one set of weights serves all of them.

    The trial's own schedule says before which blocks there are selectors to draw from, and how many tokens they expect
    to keep when training begins.
    """

    lowest_keep_rate: Positive = Field(default=0.1, lt=1.0, description="The lowest that is drawn, at any stage.")
    highest_keep_rate: Positive = Field(default=1.0, le=1.0, description="The highest that is drawn.")
    min_selectors: int | None = Field(
        default=None, ge=1, description="Fewest selectors of a drawn schedule; as many as there are where absent."
    )
    max_selectors: int | None = Field(
        default=None, ge=1, description="Most selectors of a drawn schedule; as many as there are where absent."
    )
    block_sets: tuple[tuple[int, ...], ...] = Field(
        default=(),
        description="Before which blocks a drawn schedule may have selectors, as whole sets; any of the trial's "
        "blocks, as many as the two keys above say, if empty.",
    )
    is_geometric: bool = Field(
        default=False,
        description="Whether stages keep r, r^2, r^3 with one r between the lowest and the highest keep rate, as "
        "`base_keep_rate` means it; else each keeps its own share, and none more than the one before.",
    )
    max_cost_share: Positive = Field(
        default=1.0, le=1.0, description="Draw nothing that costs more than this share of the unpruned model."
    )
    sandwich_share: Share = Field(
        default=0.5, description="Share of the steps that train the unpruned model as well, on the labels alone."
    )
    teacher: ElasticTeacher = Field(
        default=ElasticTeacher.ORIGINAL, description="What the distillation terms compare drawn schedules with."
    )
    drawn_classification: NonNegative = Field(
        default=1.0,
        description="Share of losses.classification in the loss of a drawn schedule; 0 leaves it to its teacher alone.",
    )
    num_priced: int = Field(
        default=8, ge=2, description="Schedules, evenly spread over the costs, that are evaluated after each epoch."
    )

    num_priced_last: int | None = Field(
        default=None, ge=2, description="The same after the last epoch; as many as after any where absent."
    )

    priced_images: int | None = Field(
        default=None,
        ge=1,
        description="Validation images that these are evaluated on, in whole batches spread over the split; all where "
        "absent.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lowest_keep_rate >= self.highest_keep_rate:
            raise ValueError(
                f"lowest_keep_rate ({self.lowest_keep_rate}) must be below highest_keep_rate "
                f"({self.highest_keep_rate})."
            )
        if None not in (self.min_selectors, self.max_selectors) and self.min_selectors > self.max_selectors:  # type: ignore[operator]
            raise ValueError(
                f"min_selectors ({self.min_selectors}) must not exceed max_selectors ({self.max_selectors})."
            )
        return self
