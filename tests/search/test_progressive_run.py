"""Steps are the experiment's training, made shorter."""

import pytest

from search.progressive_run import shortened
from trainers.config import TrainingConfig


@pytest.mark.parametrize(
    ("freeze_epochs", "epochs", "expected"), [(5, 15, (2, 1.0)), (5, 1, (0, 1 / 15)), (30, 1, (1, 1 / 15))]
)
def test_epochs_are_warmed_up_in_proportion_and_frozen_in_whole_ones(freeze_epochs, epochs, expected):
    training = TrainingConfig(epochs=30, freeze_epochs=freeze_epochs, warmup_epochs=2)
    step = shortened(training, epochs)
    assert step.epochs == epochs
    assert (step.freeze_epochs, step.warmup_epochs) == (expected[0], pytest.approx(expected[1]))
