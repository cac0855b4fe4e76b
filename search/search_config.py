"""`[search]` of an experiment file: how many trials, how they are proposed and which are stopped early."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from search.elastic_search_config import ElasticSearchConfig, SearchMode
from search.space_config import SpaceConfig
from search.start_config import StartConfig
from search.warm_starts import USUAL, WarmStartName
from spvit.options import TokenForm
from trainers.config import FrozenConfig, Positive, Share
from trainers.frozen_config import OpenShare


class SamplerName(StrEnum):
    """Optuna's samplers by name, and ours, which models quality alone since latency is known."""

    TPE = "tpe"
    NSGA2 = "nsga2"
    GP = "gp"
    RANDOM = "random"
    KNOWN_LATENCY = "known_latency"


class PrunerName(StrEnum):
    """Ours, which bounds what a trial can still reach, and Optuna's by name, on the trials as fast or faster."""

    PARETO = "pareto"
    MEDIAN = "median"
    SUCCESSIVE_HALVING = "successive_halving"
    HYPERBAND = "hyperband"
    WILCOXON = "wilcoxon"
    PATIENT = "patient"
    NONE = "none"


class KeepCheckpoints(StrEnum):
    """Which of the trials that were trained in full keep their last checkpoint."""

    ALL = "all"
    FRONT = "front"
    NONE = "none"


class SearchConfig(FrozenConfig):
    """How many trials, how they are proposed and which are stopped early."""

    mode: SearchMode = Field(
        default=SearchMode.AUTO,
        description="What a trial trains (docs/elastic.md): `schedule`, one schedule; `elastic`, one set of weights "
        "for all of them; `auto`, elastic trials first, then the schedules that they find good, from their weights.",
    )
    num_trials: int = Field(default=32, ge=1)
    num_concurrent: int = Field(default=2, ge=1)
    cpus_per_trial: Positive = Field(
        default=1.0, description="CPUs where one worker trains a trial; see also trial.resources_per_worker."
    )
    gpus_per_trial: float = Field(
        default=0.0, ge=0.0, description="GPUs where one worker trains a trial; below 1, several trials share a GPU."
    )
    sampler: SamplerName = SamplerName.KNOWN_LATENCY
    num_startup_trials: int = Field(default=8, ge=1)
    pruner: PrunerName = PrunerName.PARETO
    grace_epochs: int | None = Field(
        default=None, ge=1, description="Epochs before a trial may be pruned; freeze_epochs + 1 if absent."
    )
    pruner_confidence: OpenShare = Field(
        default=0.99, description="Of the upper bound of final accuracy under which `pareto` stops a trial."
    )
    latency_tolerance: Share = Field(
        default=0.02,
        description="Optuna's pruners compare a trial with those at most this much slower than itself.",
    )
    max_failed_share: Share = Field(
        default=0.5,
        description="End when more of the ended trials failed; lost nodes do not count (docs/failures.md).",
    )
    stuck_factor: Annotated[float, Field(ge=2.0)] = Field(
        default=10.0,
        description="A trial without a report for so many times the slowest epoch is stuck; it is ended and run again.",
    )
    stuck_floor_s: Positive = Field(
        default=1800.0,
        description="No trial is stuck before so many seconds; before any epoch is known it stands for one.",
    )
    keep_checkpoints: KeepCheckpoints = Field(
        default=KeepCheckpoints.ALL,
        description="Of trials trained in full, whose are kept: `all`, `front` (on the front, or best within a budget "
        "or equal to that) or `none` (best within a budget or equal to that alone); stopped trials keep none.",
    )
    max_wall_time_s: Positive | None = Field(
        default=None, description="End after this time, all sessions together; running trials are stopped, to go on."
    )
    max_gpu_hours: Positive | None = Field(
        default=None,
        description="End after so many hours of GPUs held by trials; running trials are stopped, to go on.",
    )
    target_top1: Annotated[float, Field(gt=0.0, le=100.0)] | None = Field(
        default=None,
        description="End when a finished trial within the (smallest) budget has this validation top-1, in percent; "
        "running trials finish.",
    )
    patience_trials: int | None = Field(
        default=None,
        ge=1,
        description="End when so many trials in a row did not add to the hypervolume; running trials finish.",
    )
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
    elastic: ElasticSearchConfig = ElasticSearchConfig()
    space: SpaceConfig = SpaceConfig()

    def grace(self, freeze_epochs: int) -> int:
        """Epochs after which a trial whose backbone is frozen for so many is never stopped."""
        return freeze_epochs + 1 if self.grace_epochs is None else self.grace_epochs

    @property
    def num_schedules(self) -> int:
        """Trials of single schedules that are asked for, beside the fixed one: none in mode `elastic`."""
        return 0 if self.mode is SearchMode.ELASTIC else self.num_trials

    def has_elastic_trials(self, form: TokenForm) -> bool:
        """Whether the search begins with elastic trials, where trainings drop tokens in this form.

        `auto` has none where no keep rates are explored, nor where schedules are to differ in what trainings from one
        set of weights have in common: their epochs, and the form.
        """
        if self.mode is not SearchMode.AUTO:
            return self.mode is SearchMode.ELASTIC
        is_shared = form is TokenForm.GATHERED and not {"epochs", "form"} & self.space.training.keys()
        return self.space.explores_rates and is_shared

    @model_validator(mode="after")
    def _elastic_settings_are_explored(self) -> Self:
        if not self.space.elastic:
            return self
        keys = ", ".join(f"space.elastic.{key}" for key in self.space.elastic)
        if self.mode is SearchMode.SCHEDULE:
            raise ValueError(
                f"{keys}: settings of elastic trials, which search.mode = 'schedule' has none of: set search.mode to "
                "'elastic' or 'auto', or leave search.space.elastic out"
            )
        if not self.space.explores_rates:
            raise ValueError(
                f"{keys}: settings of elastic trials, of which a search of no keep rates has none: explore "
                "space.stage_keep_rates, or leave search.space.elastic out"
            )
        if self.elastic.num_exploring < 2:
            raise ValueError(
                f"{keys}: explored by the elastic trials after the first, but search.elastic.num_trials = 1: raise it, "
                "or set the keys of [elastic] themselves"
            )
        return self

    @field_validator("warm_starts", mode="before")
    @classmethod
    def _usual_or_none(cls, value: object) -> object:
        if isinstance(value, bool):
            return USUAL if value else ()
        return value
