"""`[search]` of an experiment file: how many trials, how they are proposed and which are stopped early."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, field_validator

from search.space_config import SpaceConfig
from search.start_config import StartConfig
from search.warm_starts import USUAL, WarmStartName
from trainers.config import FrozenConfig, Positive, Share


class SamplerName(StrEnum):
    """Optuna's samplers by name, and ours, which models quality alone since latency is known."""

    TPE = "tpe"
    NSGA2 = "nsga2"
    GP = "gp"
    RANDOM = "random"
    KNOWN_LATENCY = "known_latency"


class PrunerName(StrEnum):
    """Optuna's pruners by name, each acting on the trials that are as fast or faster."""

    MEDIAN = "median"
    SUCCESSIVE_HALVING = "successive_halving"
    HYPERBAND = "hyperband"
    NONE = "none"


class SearchConfig(FrozenConfig):
    """How many trials, how they are proposed and which are stopped early."""

    num_trials: int = Field(default=32, ge=1)
    num_concurrent: int = Field(default=2, ge=1)
    cpus_per_trial: Positive = 1.0
    gpus_per_trial: float = Field(default=0.0, ge=0.0)
    sampler: SamplerName = SamplerName.KNOWN_LATENCY
    num_startup_trials: int = Field(default=8, ge=1)
    pruner: PrunerName = PrunerName.MEDIAN
    grace_epochs: int | None = Field(
        default=None, ge=1, description="Epochs before a trial may be pruned; freeze_epochs + 1 if absent."
    )
    latency_tolerance: Share = Field(
        default=0.02, description="A trial is compared with those at most this much slower than itself."
    )
    max_failed_share: Share = 0.5
    warm_starts: tuple[WarmStartName, ...] = Field(
        default=USUAL,
        description="Schedules to try first (docs/space.md); `true` for the three that use the budget up, `false` for "
        "none.",
    )
    enqueue: tuple[StartConfig, ...] = Field(
        default=(), description="Trials of your own to begin with, tables `[[search.enqueue]]` (docs/space.md)."
    )
    widen: bool = Field(
        default=True,
        description="Keep as many tokens as cost no more than what was drawn; for stage keep rates.",
    )
    space: SpaceConfig = SpaceConfig()

    @field_validator("warm_starts", mode="before")
    @classmethod
    def _usual_or_none(cls, value: object) -> object:
        if isinstance(value, bool):
            return USUAL if value else ()
        return value
