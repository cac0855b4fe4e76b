"""The experiment file: what it may say, and how it is read. No torch, no Ray."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from search.elastic_search_config import SearchMode
from search.given_start import GivenStart
from search.latency_config import LatencyConfig
from search.search_config import SearchConfig
from search.secrets import has_user_info
from search.storage_url import check_storage_url
from search.trial_resources import TrialResources, TrialWorkersConfig
from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import PackageMode, PruningSchedule, default_blocks
from trainers.config import (
    DataConfig,
    ElasticConfig,
    FrozenConfig,
    LatencyTarget,
    LossWeights,
    ModelConfig,
    Positive,
    PruningConfig,
    TrainingConfig,
    TrialConfig,
)
from trainers.frozen_config import OpenShare

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class StudyConfig(FrozenConfig):
    """Where a study is kept and what makes it repeatable."""

    name: str
    directory: Path = Field(default=Path("runs"), description="Studies, checkpoints, tracking and exports go here.")
    storage: str | None = Field(
        default=None,
        description="Where the study is kept: `postgresql://USER@HOST/DATABASE`, with its password in PGPASSWORD or "
        "~/.pgpass; SQLite in the study's folder if absent.",
    )
    checkpoints: str | None = Field(
        default=None,
        description="Folder or URL (`s3://bucket/folder`, ...) that every machine of a cluster can reach: trials "
        "publish their checkpoints there (docs/cluster.md). In the study's folder if absent.",
    )
    scratch: Path = Field(
        default=Path("~/.cache/spvit-search"),
        description="Where a machine trains whose checkpoints are published; `~` is the home there.",
    )
    seed: int = Field(default=0, ge=0)

    @field_validator("checkpoints")
    @classmethod
    def _reached_from_everywhere(cls, checkpoints: str | None) -> str | None:
        if checkpoints is not None and has_user_info(checkpoints):
            raise ValueError(
                "a URL without user and password was required, since trials are told it: give each machine its own "
                "access (environment, instance role)"
            )
        is_url = checkpoints is not None and "://" in checkpoints
        if checkpoints is not None and (
            checkpoints.startswith("memory:") or not (is_url or checkpoints.startswith("/"))
        ):
            raise ValueError(
                f"an absolute path or a URL that means the same on every machine was required, but got {checkpoints!r}"
            )
        return checkpoints

    @field_validator("storage")
    @classmethod
    def _storage_without_password(cls, storage: str | None) -> str | None:
        if storage is not None:
            check_storage_url(storage)
        return storage

    @field_validator("name")
    @classmethod
    def _safe_name(cls, name: str) -> str:
        if not STUDY_NAME.fullmatch(name):
            raise ValueError(
                f"a study's name is a folder's name: letters, digits, `.`, `_`, `-`, "
                f"at most 100, the first a letter or digit, but got {name!r}"
            )
        return name


class PruningDefaults(FrozenConfig):
    """The schedule that trials start from: a base rate or stage keep rates, at given blocks or at depth/4 steps."""

    blocks: tuple[int, ...] | None = None
    base_keep_rate: Positive | None = None
    stage_keep_rates: tuple[float, ...] | None = None
    selector: SelectorKind = SelectorKind.MULTI_HEAD
    head_weighting: HeadWeighting = HeadWeighting.SENET
    package: PackageMode = PackageMode.PER_SELECTOR

    @field_validator("blocks")
    @classmethod
    def _rising_blocks(cls, blocks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if blocks is not None and list(blocks) != sorted({block for block in blocks if block >= 0}):
            raise ValueError(f"different blocks from 0 on were required, lowest first, but got {list(blocks)}")
        return blocks

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.base_keep_rate is not None and self.stage_keep_rates is not None:
            raise ValueError("give base_keep_rate or stage_keep_rates, not both")
        if self.base_keep_rate is not None or self.stage_keep_rates is not None:
            self.schedule(depth=1000)
        return self

    def resolved_blocks(self, depth: int) -> tuple[int, ...]:
        """The blocks given, or those that cut a model of this depth into equal parts."""
        return self.blocks if self.blocks is not None else default_blocks(depth)

    def schedule(self, depth: int) -> PruningSchedule:
        """The schedule these settings name on a model of this depth; dense if they name none."""
        blocks = self.resolved_blocks(depth)
        if self.stage_keep_rates is not None:
            return PruningSchedule.from_keep_rates(self.stage_keep_rates, blocks)
        if self.base_keep_rate is not None:
            return PruningSchedule.from_base_rate(self.base_keep_rate, blocks)
        return PruningSchedule()


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
