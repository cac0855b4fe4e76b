"""Means of the loss terms over an epoch, and the alarm when one is no number."""

from __future__ import annotations

import torch
from torch import Tensor

from spvit.errors import DivergedError
from trainers.loss import LossTerms
from trainers.workers import WorkerGroup

GPU_CHECK_EVERY = 20


class LossMeter:
    """Adds up terms on their device. A check waits for a GPU to finish, so there it is made every few steps only."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._names: tuple[str, ...] = ()
        self._count = 0

    def add(self, loss: LossTerms, *, step: int) -> None:
        """Count one step.

        Raises:
            DivergedError: a term is NaN or infinite; at the latest `GPU_CHECK_EVERY` steps later.
        """
        values = loss.detached()
        self._sum = values if self._sum is None else self._sum + values
        self._names = loss.names
        self._count += 1
        if values.device.type == "cpu" or self._count % GPU_CHECK_EVERY == 0:
            self._check(step)

    def means(self, workers: WorkerGroup, *, step: int) -> dict[str, float]:
        """Mean of each term over steps and workers.

        Raises:
            DivergedError: a term was NaN or infinite.
        """
        if self._sum is None:
            return {}
        self._check(step)
        means = workers.all_reduce_mean(self._sum / self._count)
        return dict(zip(self._names, means.tolist(), strict=True))

    def _check(self, step: int) -> None:
        if self._sum is None or bool(torch.isfinite(self._sum).all()):
            return
        terms = ", ".join(f"{n} {v:g}" for n, v in zip(self._names, self._sum.tolist(), strict=True))
        raise DivergedError(
            f"The loss must be finite, but by step {step} its sums over the epoch are: {terms}. "
            f"Lower training.lr or the loss weights, or set training.clip_grad_norm."
        )
