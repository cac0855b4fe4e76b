"""How weights are trained further that have been trained for pruning already. No torch."""

from __future__ import annotations

from trainers.training_config import TrainingConfig

FURTHER_LR_SCALE = 0.4
"""At the full rate a short training costs a schedule near the dense model what it cannot bring back (decision 42)."""


def further_training(training: TrainingConfig, lr_scale: float = FURTHER_LR_SCALE) -> TrainingConfig:
    """The same training at so many times its learning rates; the lowest one is the peak's at most."""
    lr = lr_scale * training.lr
    return training.model_copy(update={"lr": lr, "min_lr": min(training.min_lr, lr)})
