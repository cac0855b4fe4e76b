"""How a trial is optimised. No torch."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from spvit.options import TokenForm
from trainers.frozen_config import FrozenConfig, NonNegative, Positive, Share

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class Precision(StrEnum):
    """Number format of the forward and backward pass; weights stay float32.

    AUTO is BFLOAT16 where the device multiplies it natively, else FLOAT32.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class TrainingConfig(FrozenConfig):
    """How one fine-tuning is optimised. Where the defaults come from: `docs/recipe.md`."""

    epochs: int = Field(default=30, ge=1)
    continues_epochs: int | None = Field(
        default=None,
        ge=1,
        description="Go on from the checkpoint of a training of so many epochs, on this one's learning rates; set by "
        "`extend`.",
    )
    batch_size: int = Field(default=256, ge=1, description="Images per step and worker.")
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Images per forward pass, whose gradients are added up to a step's: less memory, same batch.",
    )
    images_per_epoch: int | None = Field(
        default=None, ge=1, description="Images drawn afresh for each epoch; all of them where not given."
    )
    lr: Positive = Field(default=5e-4, description="Peak learning rate of the selectors.")
    backbone_lr_scale: NonNegative = Field(default=0.01, description="Backbone's learning rate over the selectors'.")
    min_lr: NonNegative = Field(default=1e-5, description="Learning rate of the selectors at the end.")
    warmup_epochs: NonNegative = Field(default=0.0, description="Epochs in which the learning rate rises.")
    freeze_epochs: int = Field(
        default=5,
        ge=0,
        description="Epochs in which the backbone is frozen; of no effect where no selector learns "
        "(`class_attention`, or no pruning), since nothing would be trained in them.",
    )
    weight_decay: NonNegative = Field(
        default=0.05, description="AdamW's; not of the backbone's biases, norms, class token and positions."
    )
    adam_betas: tuple[Decay, Decay] = Field(default=(0.9, 0.999), description="AdamW's two decays.")
    adam_epsilon: Positive = 1e-8
    clip_grad_norm: Positive | None = Field(default=1.0, description="Greatest norm of all gradients together.")
    ema_decay: Decay | None = Field(
        default=None,
        description="Of a moving average of the weights, which is then what is evaluated and exported; none if absent.",
    )
    label_smoothing: Share = 0.1
    mixup: NonNegative = Field(default=0.8, description="Alpha of mixup; 0 is without.")
    cutmix: NonNegative = Field(default=1.0, description="Alpha of cutmix; 0 is without.")
    mix_probability: Share = Field(default=1.0, description="Share of the batches that are mixed.")
    cutmix_share: Share = Field(default=0.5, description="Share of these that get cutmix, where both have an alpha.")
    temperature: Positive = Field(default=1.0, description="Of the Gumbel noise that samples tokens while training.")
    temperature_end: Positive | None = Field(
        default=None, description="The temperature falls to this by equal factors from step to step; fixed if absent."
    )
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
    precision: Precision = Field(
        default=Precision.AUTO,
        description="Of matrix products; `auto` is bfloat16 where the device has it natively. "
        "Devices agree better with float32.",
    )
    compile: bool = Field(
        default=False, description="Let torch.compile translate the transformer blocks; needs a compiler."
    )
    num_threads: int | None = Field(
        default=None, ge=1, description="CPU threads of a trial; torch's default if absent."
    )
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    seed: int = Field(default=0, ge=0)

    @field_validator("form")
    @classmethod
    def _trainable(cls, form: TokenForm) -> TokenForm:
        if form is TokenForm.ADAPTIVE:
            raise ValueError(
                "form must be 'gathered' or 'masked': 'adaptive' is for inference alone, with thresholds calibrated "
                "after training (spvit-search evaluate --form adaptive)"
            )
        return form

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr ({self.min_lr}) must not exceed lr ({self.lr}).")
        if self.continues_epochs is not None and self.continues_epochs >= self.epochs:
            raise ValueError(f"continues_epochs ({self.continues_epochs}) must be less than epochs ({self.epochs}).")
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"micro_batch_size ({self.micro_batch_size}) must not exceed batch_size ({self.batch_size})."
            )
        return self
