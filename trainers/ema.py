"""A moving average of the weights while they are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainers.config import TrainingConfig


def decay_at(update: int, decay: float) -> float:
    """The decay of an update (0-based), which rises to `decay`, so that the first weights are soon forgotten.

    (1 + t) / (10 + t), as TensorFlow's `ExponentialMovingAverage` has it: without it, .99996 for a training of 1,000
    steps is an average that is 96 % the weights from before the training.
    """
    return min(decay, (1 + update) / (10 + update))


class WeightAverage:
    """Keeps an average of parameters, and lends it to them.

    Args:
        parameters: those that are trained; others are the same in the average.
        decay: share of the old average that an update leaves, in [0, 1).
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self._average = _copies(self._parameters)

    def restart(self) -> None:
        """Begin anew from what the parameters are now."""
        self._average = _copies(self._parameters)

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Take in the parameters after a training step (0-based, counted from the beginning of the training)."""
        torch._foreach_lerp_(self._average, self._parameters, 1.0 - decay_at(number, self._decay))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The parameters hold the average within the block, and what they held before after it, to the last bit."""
        trained = _copies(self._parameters)
        _fill(self._parameters, self._average)
        try:
            yield
        finally:
            _fill(self._parameters, trained)


def make_average(optimizer: Optimizer, config: TrainingConfig) -> WeightAverage | None:
    """The average of what an optimizer trains, or None where the configuration wants none."""
    if config.ema_decay is None:
        return None
    return WeightAverage([p for group in optimizer.param_groups for p in group["params"]], config.ema_decay)


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def _fill(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
