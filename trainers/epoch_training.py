"""The steps of one epoch: the only place where weights change after the selectors' start."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from trainers.augment import draw_mix, mix
from trainers.config import TrainingConfig
from trainers.data import Batches
from trainers.ema import WeightAverage
from trainers.learning_rate import lr_at
from trainers.loss import LossTerms, TrainingStep, weighted_mean
from trainers.loss_meter import LossMeter
from trainers.optim import clip, set_learning_rate, trainable
from trainers.precision import autocast
from trainers.preprocessing import Preprocessing
from trainers.sampling import Purpose, stream
from trainers.temperature import temperature_at
from trainers.workers import WorkerGroup

Progress = Callable[[int, int], None]


class EpochTraining:
    """Walks through the batches of an epoch. What a step does depends on its number alone, not on how it was reached.

    Args:
        step: the loss of a batch; its student is trained.
        optimizer: of the student's parameters.
        average: of the same parameters; None for none.
        config: how to train.
        preprocessing: what the student expects of images.
        workers: the processes that train together.
        device: where the student is.
    """

    def __init__(
        self,
        step: TrainingStep,
        optimizer: AdamW,
        average: WeightAverage | None,
        *,
        config: TrainingConfig,
        preprocessing: Preprocessing,
        workers: WorkerGroup,
        device: torch.device,
    ) -> None:
        self._step, self._optimizer, self._average, self._config = step, optimizer, average, config
        self._preprocessing, self._workers, self._device = preprocessing, workers, device

    @property
    def config(self) -> TrainingConfig:
        """How it trains."""
        return self._config

    def run(self, batches: Batches, epoch: int, progress: Progress | None = None) -> dict[str, float]:
        """Train on every batch of an epoch (0-based).

        Returns:
            The mean of each loss term over steps and workers.

        Raises:
            DivergedError: the loss is not finite.
        """
        num_steps, meter = batches.num_batches(), LossMeter()
        module = self._workers.wrap(self._step.train(), leaves_some_unused=self._step.leaves_some_unused)
        parameters = trainable(self._step.student)
        for number, (images, labels) in enumerate(batches.epoch(epoch), start=epoch * num_steps):
            set_learning_rate(self._optimizer, self.lr(number, num_steps))
            self._step.begin(epoch, number - epoch * num_steps)
            inputs, targets = self._mixed(epoch, number - epoch * num_steps, images, labels)
            loss = self._accumulate(module, inputs, targets, self._temperature(number, num_steps))
            self._update(parameters, number)
            meter.add(loss, step=number)
            if progress is not None:
                progress(number + 1 - epoch * num_steps, num_steps)
        return meter.means(self._workers, step=(epoch + 1) * num_steps)

    def lr(self, number: int, steps_per_epoch: int) -> float:
        """The selectors' learning rate in a step (0-based, counted from the beginning of the training)."""
        config = self._config
        return lr_at(
            number,
            total_steps=config.epochs * steps_per_epoch,
            peak=config.lr,
            floor=config.min_lr,
            warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        )

    def _temperature(self, number: int, steps_per_epoch: int) -> float:
        last = max(1, self._config.epochs * steps_per_epoch - 1)
        return temperature_at(number / last, start=self._config.temperature, end=self._config.temperature_end)

    def _mixed(self, epoch: int, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        config = self._config
        draw = draw_mix(
            stream(config.seed, Purpose.MIX, epoch, step, self._workers.rank),
            len(labels),
            self._preprocessing.size,
            mixup=config.mixup,
            cutmix=config.cutmix,
            probability=config.mix_probability,
            cutmix_share=config.cutmix_share,
        )
        return mix(images, labels, draw, self._preprocessing.num_classes)

    def _accumulate(self, module: nn.Module, images: Tensor, targets: Tensor, temperature: float) -> LossTerms:
        """Leave the gradient of a batch's mean loss in the parameters, made from parts that fit into memory."""
        self._optimizer.zero_grad(set_to_none=True)
        losses, done = [], 0
        for part_images, part_targets in self._parts(images, targets):
            share, done = len(part_images) / len(images), done + len(part_images)
            with self._workers.alone(module, wanted=done < len(images)):
                with autocast(self._config.precision, self._device):
                    loss: LossTerms = module(part_images, part_targets, temperature)
                if loss.total.requires_grad:
                    torch.autograd.backward(loss.total * share)
            losses.append((share, loss))
        return weighted_mean(losses)

    def _parts(self, images: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        size = self._config.micro_batch_size or len(images)
        return zip(torch.split(images, size), torch.split(targets, size), strict=True)

    def _update(self, parameters: list[nn.Parameter], number: int) -> None:
        if parameters:
            clip(parameters, self._config.clip_grad_norm)
            self._optimizer.step()
        if self._average is not None:
            self._average.update(number)
