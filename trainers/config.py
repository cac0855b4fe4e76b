"""What one trial is told: model, data, pruning, losses, training. Frozen, validated, picklable; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from spvit.options import HeadWeighting, SelectorKind, TokenForm
from spvit.schedule import PackageMode, PruningSchedule
from trainers.data_config import Augmentation, DataConfig, DataFormat
from trainers.elastic_config import ElasticConfig, ElasticTeacher
from trainers.frozen_config import FrozenConfig, NonNegative, Positive, Share
from trainers.latency_target import LatencyTarget
from trainers.loss_config import LossWeights
from trainers.start_weights import StartWeights
from trainers.training_config import Precision, TrainingConfig

__all__ = [
    "Augmentation",
    "DataConfig",
    "DataFormat",
    "ElasticConfig",
    "ElasticTeacher",
    "FrozenConfig",
    "LatencyTarget",
    "LossWeights",
    "ModelConfig",
    "NonNegative",
    "Positive",
    "Precision",
    "PruningConfig",
    "Share",
    "StartWeights",
    "TrainingConfig",
    "TrialConfig",
]


class ModelConfig(FrozenConfig):
    """A timm model and where its weights come from."""

    name: str = Field(description="Name of the model in timm, e.g. `deit_small_patch16_224`.")
    args: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="Further arguments of `timm.create_model` (img_size, embed_dim, ...)."
    )
    checkpoint: Path | None = Field(
        default=None, description="Weights in a local file: safetensors, or a `.pth` that holds nothing but tensors."
    )
    pretrained: bool = Field(default=False, description="Let timm download the weights published under this name.")


class PruningConfig(FrozenConfig):
    """The schedule of a trial and the form of its selectors."""

    schedule: PruningSchedule = PruningSchedule()
    selector: SelectorKind = SelectorKind.MULTI_HEAD
    head_weighting: HeadWeighting = HeadWeighting.SENET
    package: PackageMode = PackageMode.PER_SELECTOR


_LATER = ("elastic", "start")


class TrialConfig(FrozenConfig):
    """Everything that decides one trial.

    `latency` is there where the loss has a latency term, or an elastic trial draws schedules by a table's latencies;
    `elastic` where one training is to serve many schedules; `start` where it goes on from what another trial trained.
    """

    model: ModelConfig
    data: DataConfig
    pruning: PruningConfig = PruningConfig()
    losses: LossWeights = LossWeights()
    training: TrainingConfig = TrainingConfig()
    latency: LatencyTarget | None = None
    elastic: ElasticConfig | None = None
    start: StartWeights | None = None

    @model_validator(mode="after")
    def _trainable_together(self) -> Self:
        if self.elastic is None:
            return self
        if self.training.form is not TokenForm.GATHERED:
            raise ValueError("an elastic trial removes tokens while it trains: training.form must be 'gathered'")
        if not self.pruning.schedule.stages:
            raise ValueError("an elastic trial needs a schedule that says where selectors stand, but it has no stages")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the border to Ray, Optuna and MLflow. `TrialConfig.model_validate` reads them back.

        Sections that earlier versions did not have are left out where they are not used, so that studies and
        checkpoints from before know their trials again.
        """
        values = self.model_dump(mode="json")
        return {name: value for name, value in values.items() if value is not None or name not in _LATER}
