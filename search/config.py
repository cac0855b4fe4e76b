"""The experiment file: what it may say, and how it is read. No torch, no Ray."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from search.elastic_search_config import SearchMode
from search.given_start import GivenStart
from search.latency_config import LatencyConfig
from search.progressive_config import ProgressiveConfig
from search.pruning_defaults import PruningDefaults
from search.search_config import SearchConfig
from search.study_config import StudyConfig
from search.trial_resources import TrialResources, TrialWorkersConfig
from spvit.options import SelectorKind
from trainers.config import (
    DataConfig,
    ElasticConfig,
    FrozenConfig,
    LatencyTarget,
    LossWeights,
    ModelConfig,
    PruningConfig,
    TrainingConfig,
    TrialConfig,
)


class TrackingConfig(FrozenConfig):
    """Where MLflow records the study."""

    uri: str | None = Field(default=None, description="MLflow tracking URI; SQLite in the runs folder if absent.")
    enabled: bool = True


class ExperimentConfig(FrozenConfig):
    """One experiment file, validated."""

    study: StudyConfig
    model: ModelConfig
    data: DataConfig
    pruning: PruningDefaults = PruningDefaults()
    losses: LossWeights = LossWeights()
    training: TrainingConfig = TrainingConfig()
    start: GivenStart = GivenStart()
    elastic: ElasticConfig = ElasticConfig()
    trial: TrialWorkersConfig = TrialWorkersConfig()
    latency: LatencyConfig = LatencyConfig()
    search: SearchConfig = SearchConfig()
    tracking: TrackingConfig = TrackingConfig()
    progressive: ProgressiveConfig = ProgressiveConfig()

    @property
    def has_elastic_trials(self) -> bool:
        """Whether the search begins with elastic trials: `search.mode`, where they can be and are not there already."""
        return self.start.path is None and self.search.has_elastic_trials(self.training.form)

    @property
    def selector_kinds(self) -> tuple[SelectorKind, ...]:
        """The kinds of selectors that trials may have, the one of `[pruning]` first."""
        choice = self.search.space.pruning.get("selector")
        explored = () if choice is None else tuple(SelectorKind(str(value)) for value in choice.choices)
        return tuple(dict.fromkeys((self.pruning.selector, *explored)))

    @model_validator(mode="after")
    def _latency_term_has_budget(self) -> Self:
        has_budget = self.latency.max_latency_ms is not None or self.latency.max_latency_share is not None
        if self.has_latency_term and not has_budget:
            raise ValueError(
                "a latency term (losses.latency, search.space.losses.latency) punishes what exceeds the budget: "
                "set latency.max_latency_ms or latency.max_latency_share"
            )
        return self

    @model_validator(mode="after")
    def _start_fits_the_rest(self) -> Self:
        if self.start.path is None:
            return self
        if self.search.space.elastic:
            raise ValueError(
                "start.path names weights to go on from, so there are no elastic trials whose settings could be "
                "explored: leave search.space.elastic out"
            )
        if self.search.mode is SearchMode.ELASTIC:
            raise ValueError(
                "start.path names weights to go on from, but search.mode = 'elastic' trains elastic weights from the "
                "backbone: leave one of them out"
            )
        if self.study.checkpoints is not None:
            raise ValueError(
                "start.path is a file that every machine reads, but study.checkpoints is for machines that share no "
                "folder: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _workers_share_batches(self) -> Self:
        resources, batch_size = self.trial_resources, self.training.batch_size
        workers = resources.workers
        if batch_size % workers:
            raise ValueError(
                f"training.batch_size = {batch_size} images are shared equally by trial.workers = {workers}: make it a "
                f"multiple of {workers}"
            )
        if self.search.max_gpu_hours is not None and not resources.gpus:
            raise ValueError(
                f"search.max_gpu_hours = {self.search.max_gpu_hours:g} would never end a search whose trials hold no "
                f"GPU: set trial.resources_per_worker.gpus (or search.gpus_per_trial), or use search.max_wall_time_s"
            )
        return self

    @property
    def trial_resources(self) -> TrialResources:
        """What one trial takes of a machine or a cluster."""
        return TrialResources.from_config(self.trial, self.search)

    @property
    def has_latency_term(self) -> bool:
        """Whether a trial's loss may have a latency term."""
        return self.losses.latency > 0 or "latency" in self.search.space.losses

    def fixed_trial(self, depth: int, latency: LatencyTarget | None = None) -> TrialConfig:
        """The trial that the file describes by itself, before a search changes anything.

        Args:
            depth: number of blocks.
            latency: what a latency term aims at.

        Raises:
            CheckpointError: `[start]` names a file that cannot be read, without its hash.
        """
        pruning = PruningConfig(
            schedule=self.pruning.schedule(depth),
            selector=self.pruning.selector,
            head_weighting=self.pruning.head_weighting,
            package=self.pruning.package,
        )
        return TrialConfig(
            model=self.model,
            data=self.data,
            pruning=pruning,
            losses=self.losses,
            training=self.training,
            latency=latency,
            start=self.start.weights(),
        )
