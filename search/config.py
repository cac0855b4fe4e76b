"""The experiment file: what it may say, and how it is read. No torch, no Ray."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from search.latency_options import OnDrift, TargetDevice
from search.space_config import SpaceConfig
from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import PackageMode, PruningSchedule, default_blocks
from trainers.config import (
    DataConfig,
    FrozenConfig,
    LatencyTarget,
    LossWeights,
    ModelConfig,
    Positive,
    PruningConfig,
    Share,
    TrainingConfig,
    TrialConfig,
)

OpenShare = Annotated[float, Field(gt=0.0, lt=1.0)]
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class StudyConfig(FrozenConfig):
    """Where a study is kept and what makes it repeatable."""

    name: str
    directory: Path = Field(default=Path("runs"), description="Studies, checkpoints, tracking and exports go here.")
    storage: str | None = Field(default=None, description="Optuna storage URL; SQLite in the study's folder if absent.")
    seed: int = Field(default=0, ge=0)

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


class LatencyConfig(FrozenConfig):
    """Which latency table counts and what the budget is."""

    table: Path | None = Field(
        default=None, description="A measured table; `profile` writes one in the study's folder."
    )
    batch_size: int = Field(default=1, ge=1, description="Images per forward pass when measuring.")
    num_threads: int = Field(default=1, ge=1)
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    runtime: Literal["eager", "compiled", "onnxruntime", "cuda_graph"] = Field(
        default="eager", description="What executes the model: when profiling, exporting and evaluating."
    )
    time_limit_s: Positive = Field(
        default=50.0,
        description="Wall time of profiling. Compiling and exporting comes on top; everything is sampled three times "
        "at least, which takes longer on a very busy machine.",
    )
    precision_percent: Annotated[float, Field(gt=0.0, lt=100.0)] = Field(
        default=2.0, description="Half of a row's 90 % interval at which it is repeated no more."
    )
    max_latency_ms: Positive | None = None
    max_latency_share: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="Budget as a share of the dense model's latency."
    )
    target: TargetDevice = Field(
        default=TargetDevice.THIS_DEVICE,
        description="Whose latencies count: another device's table is refused unless it is meant.",
    )
    on_drift: OnDrift = Field(
        default=OnDrift.RESCALE,
        description="What to do where this device is no longer as fast as its table says when a search begins.",
    )
    drift_tolerance: OpenShare = Field(
        default=0.15, description="A drift that is surely larger than this is acted on: 0.15 is 15 % of the time."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.max_latency_ms is not None and self.max_latency_share is not None:
            raise ValueError("give max_latency_ms or max_latency_share, not both")
        return self

    @model_validator(mode="after")
    def _runtime_fits(self) -> Self:
        on_gpu = self.device.startswith("cuda")
        if self.runtime == "onnxruntime" and self.dtype != "float32":
            raise ValueError(
                f'runtime = "onnxruntime" runs in dtype = "float32" only (it has no bfloat16 kernels for CPUs), '
                f'but got dtype = "{self.dtype}"; runtime = "eager" or "compiled" run it'
            )
        if self.runtime == "onnxruntime" and on_gpu:
            raise ValueError(f'runtime = "onnxruntime" runs on device = "cpu" only, but got device = "{self.device}"')
        if self.runtime == "cuda_graph" and not on_gpu:
            raise ValueError(f'runtime = "cuda_graph" needs a GPU, device = "cuda", but got device = "{self.device}"')
        return self


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
    warm_starts: bool = Field(
        default=True,
        description="Try first what uses the budget up: one stage, r, r^2, ..., and the rates with most tokens.",
    )
    widen: bool = Field(
        default=True,
        description="Keep as many tokens as cost no more than what was drawn; for stage keep rates.",
    )
    space: SpaceConfig = SpaceConfig()


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
    latency: LatencyConfig = LatencyConfig()
    search: SearchConfig = SearchConfig()
    tracking: TrackingConfig = TrackingConfig()
    progressive: ProgressiveConfig = ProgressiveConfig()

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

    @property
    def has_latency_term(self) -> bool:
        """Whether a trial's loss may have a latency term."""
        return self.losses.latency > 0 or "latency" in self.search.space.losses

    def trial(self, depth: int, latency: LatencyTarget | None = None) -> TrialConfig:
        """The trial that the file describes by itself, before a search changes anything.

        Args:
            depth: number of blocks.
            latency: what a latency term aims at.
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
        )
