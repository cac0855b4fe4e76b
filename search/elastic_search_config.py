"""`[search.elastic]` of an experiment file: what elastic trials and those that follow them cost, and when to doubt."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from trainers.frozen_config import FrozenConfig, Positive
from trainers.further_training import FURTHER_LR_SCALE


class SearchMode(StrEnum):
    """What a search trains.

    SCHEDULE: each trial trains one schedule.
    ELASTIC: each trial trains one set of weights for every schedule within the budget, and says what they are worth.
    AUTO: elastic trials first; then schedules that they find good, each trained further from the best one's weights.
    """

    SCHEDULE = "schedule"
    ELASTIC = "elastic"
    AUTO = "auto"


NUM_EXPLORING = 3
"""Elastic trials that tell settings apart: each costs as much as several schedules, and weights serve all of these."""


class ElasticSearchConfig(FrozenConfig):
    """Elastic trials of a search, and the schedule trials that go on from the best one's weights."""

    num_trials: int | None = Field(
        default=None,
        ge=1,
        description="Elastic trials, beside `search.num_trials`; the first has the file's own settings, further ones "
        "explore those of losses, training and form that the search explores. If absent 3, or 1 where there are none.",
    )
    epochs: int | None = Field(
        default=None, ge=1, description="Of an elastic trial; twice `training.epochs` if absent."
    )
    contender_epochs: int | None = Field(
        default=None,
        ge=1,
        description="Of a schedule trained further from elastic weights; a third of `training.epochs` if absent.",
    )
    contender_lr_scale: Positive = Field(
        default=FURTHER_LR_SCALE, description="Its learning rates, over those of the elastic trial."
    )
    num_priced: int = Field(
        default=64, ge=8, description="Schedules within the budget that an elastic trial evaluates at its end."
    )
    priced_images: int = Field(
        default=1000, ge=1, description="Validation images that it evaluates them on, in whole batches."
    )
    num_bands: int = Field(
        default=6,
        ge=1,
        description="Parts of the range of latencies; the schedule estimated best within each budget is trained first, "
        "then the fastest one and that of every part that has none of these.",
    )
    min_rank_correlation: Annotated[float, Field(ge=-1.0, le=1.0)] = Field(
        default=0.5,
        description="Kendall's tau between estimates and results under which the search goes by results alone.",
    )
    min_compared: int = Field(default=5, ge=3, description="Trained schedules before that correlation is judged.")

    @property
    def num_exploring(self) -> int:
        """Elastic trials where they have settings to explore."""
        return NUM_EXPLORING if self.num_trials is None else self.num_trials

    def elastic_epochs(self, training_epochs: int) -> int:
        """Epochs of an elastic trial where a schedule by itself is trained for so many."""
        return 2 * training_epochs if self.epochs is None else self.epochs

    def epochs_of_contender(self, training_epochs: int) -> int:
        """Epochs of a schedule trained further where one by itself is trained for so many."""
        return -(-training_epochs // 3) if self.contender_epochs is None else self.contender_epochs
