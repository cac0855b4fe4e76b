"""What one trial is told: model, data, pruning, losses, training. Frozen, validated, picklable; no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from spvit.options import HeadWeighting, SelectorKind, TokenForm
from spvit.schedule import PackageMode, PruningSchedule
from trainers.data_config import Augmentation, DataConfig, DataFormat
from trainers.frozen_config import FrozenConfig, NonNegative, Positive, Share

__all__ = [
    "Augmentation",
    "DataConfig",
    "DataFormat",
    "FrozenConfig",
    "LossWeights",
    "ModelConfig",
    "NonNegative",
    "Positive",
    "Precision",
    "PruningConfig",
    "Share",
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


class LossWeights(FrozenConfig):
    """Weights of the terms of the loss (SPViT, section 3.4). Defaults are the documented recipe's."""

    classification: NonNegative = 1.0
    ratio: NonNegative = 2.0
    distillation: NonNegative = 0.5
    token_distillation: NonNegative = 0.5

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with the unpruned model."""
        return self.distillation > 0 or self.token_distillation > 0


class Precision(StrEnum):
    """Number format of the forward and backward pass; weights stay float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class TrainingConfig(FrozenConfig):
    """How one fine-tuning is optimised."""

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=256, ge=1, description="Images per step and worker.")
    images_per_epoch: int | None = Field(
        default=None, ge=1, description="Images drawn afresh for each epoch; all of them where not given."
    )
    lr: Positive = Field(default=5e-4, description="Peak learning rate of the selectors.")
    backbone_lr_scale: NonNegative = Field(default=0.01, description="Backbone's learning rate over the selectors'.")
    min_lr: NonNegative = 1e-5
    warmup_epochs: NonNegative = 0.0
    freeze_epochs: int = Field(default=5, ge=0, description="Epochs in which the backbone is frozen.")
    weight_decay: NonNegative = 0.05
    clip_grad_norm: Positive | None = 1.0
    label_smoothing: Share = 0.1
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0
    temperature: Positive = Field(default=1.0, description="Of the Gumbel noise that samples tokens while training.")
    noise_scale: NonNegative = Field(
        default=0.3,
        description="Of the same noise; 0 trains without it, 1 is the paper's, too much for a short gathered training.",
    )
    form: TokenForm = TokenForm.GATHERED
    freeze_leading: bool = Field(
        default=True, description="Keep what comes before the first selector as it is: pruning cannot reach it."
    )
    selector_warmup_steps: int = Field(
        default=200,
        ge=0,
        description="Steps before the first epoch in which selectors learn where the class token will look; "
        "trials of one study with the same selectors share them.",
    )
    selector_warmup_lr: Positive = Field(default=5e-3, description="Peak learning rate of those steps.")
    precision: Precision = Precision.FLOAT32
    num_threads: int | None = Field(
        default=None, ge=1, description="CPU threads of a trial; torch's default if absent."
    )
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr ({self.min_lr}) must not exceed lr ({self.lr}).")
        return self


class TrialConfig(FrozenConfig):
    """Everything that decides one trial."""

    model: ModelConfig
    data: DataConfig
    pruning: PruningConfig = PruningConfig()
    losses: LossWeights = LossWeights()
    training: TrainingConfig = TrainingConfig()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the border to Ray, Optuna and MLflow. `TrialConfig.model_validate` reads them back."""
        return self.model_dump(mode="json")
