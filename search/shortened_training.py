"""The same training in another number of epochs. Pure."""

from __future__ import annotations

from trainers.config import TrainingConfig


def shortened(training: TrainingConfig, epochs: int) -> TrainingConfig:
    """The same training in another number of epochs, warmed up for the same share of them.

    The share of frozen epochs is rounded down to whole ones, so that an epoch that only begins frozen is none: a
    one-epoch step freezes nothing unless every epoch of the training is frozen.
    """
    return training.model_copy(
        update={
            "epochs": epochs,
            "freeze_epochs": training.freeze_epochs * epochs // training.epochs,
            "warmup_epochs": training.warmup_epochs * epochs / training.epochs,
        }
    )
