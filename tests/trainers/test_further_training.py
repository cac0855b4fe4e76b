"""Weights that are trained already learn at lower rates."""

from trainers.config import TrainingConfig
from trainers.further_training import further_training


def test_rates_are_scaled_and_stay_in_order():
    given = TrainingConfig(lr=1e-3, min_lr=8e-4)
    further = further_training(given, 0.5)
    assert (further.lr, further.min_lr) == (5e-4, 5e-4)
    assert TrainingConfig.model_validate(further.model_dump()) == further
    assert further_training(TrainingConfig(lr=1e-3, min_lr=1e-5), 0.5).min_lr == 1e-5
