"""What a trial's loss is made of: the weight of each term, and the forms a term can take. No torch."""

from __future__ import annotations

from pydantic import Field

from trainers.frozen_config import FrozenConfig, NonNegative, Positive


class LossWeights(FrozenConfig):
    """Weights of the terms of the loss (SPViT, section 3.4) and their forms. Defaults are the documented recipe's."""

    classification: NonNegative = Field(default=1.0, description="Cross-entropy with the labels.")
    ratio: NonNegative = Field(
        default=2.0, description="Squared distance of the expected keep rates from the schedule's, mean over selectors."
    )
    distillation: NonNegative = Field(default=0.5, description="KL divergence from the unpruned model's classes.")
    token_distillation: NonNegative = Field(
        default=0.5, description="Squared distance of the kept tokens from the unpruned model's."
    )
    latency: NonNegative = Field(
        default=0.0,
        description="Share by which the latency table's prediction for the expected keep rates exceeds the budget; "
        "needs a budget in [latency].",
    )
    ratio_per_image: bool = Field(
        default=False, description="Hold every image to the keep rates (DynamicViT), not the batch's mean (SPViT)."
    )
    ratio_hinge: bool = Field(default=False, description="Punish only what is kept beyond the keep rates.")
    distillation_temperature: Positive = Field(default=1.0, description="Softens both class distributions.")

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with the unpruned model."""
        return self.distillation > 0 or self.token_distillation > 0
