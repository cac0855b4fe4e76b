"""What one trial's training costs here: a few real steps and evaluations, from which whole trainings are forecast."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from spvit.pruned_model import PrunedModel
from trainers.build import build_model, open_data
from trainers.config import TrialConfig
from trainers.data import Batches
from trainers.elastic_parts import make_elastic_step, make_sampler, num_batches_priced, spread_schedules
from trainers.ema import make_average
from trainers.epoch_training import EpochTraining
from trainers.evaluate import evaluate
from trainers.fine_tune import make_training_step
from trainers.loss import TrainingStep
from trainers.many_schedules import Labelled, price_schedules
from trainers.optim import make_optimizer, set_frozen
from trainers.preprocessing import preprocessing_of
from trainers.warmup import warm_up_selectors
from trainers.workers import WorkerGroup, resolve_device

MAX_STEPS = 6
NUM_WARM_UP_STEPS = 2
PILOT_IMAGES = 16
"""A batch that is tried first: where a whole one would take too long, its time is scaled up."""
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCost:
    """Seconds of one trial's parts, measured, and how many of them there are.

    Attributes:
        step_s: one optimisation step, the median of those that were timed; of an elastic trial, whose steps differ by
            what they draw, the mean.
        low_step_s: the fastest of them.
        high_step_s: the slowest of them.
        steps_per_epoch: steps of one epoch.
        evaluation_s: what an epoch evaluates, from its first batches.
        warm_up_s: the selectors' warm-up before the first epoch, which trials with the same selectors share.
        build_s: making the model and opening the data.
        images_timed: images of a timed step.
        is_scaled: whether these are fewer than a step has, as that would have taken too long to time.
        pricing_s: what an elastic trial evaluates after its last epoch, in place of the usual; else 0.
        peak_mib: the greatest resident memory of the process that did this.
        gpu_peak_mib: the same of the GPU's memory; None on a CPU.
    """

    step_s: float
    low_step_s: float
    high_step_s: float
    steps_per_epoch: int
    evaluation_s: float
    warm_up_s: float
    build_s: float
    images_timed: int
    is_scaled: bool
    peak_mib: float
    gpu_peak_mib: float | None = None
    pricing_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.low_step_s <= self.step_s <= self.high_step_s:
            raise ValueError(f"A step's times must be positive and in order, but got {self}.")

    def epoch_s(self, step_s: float) -> float:
        """One epoch with its evaluation, where a step takes so long."""
        return self.steps_per_epoch * step_s + self.evaluation_s


def measure_training(config: TrialConfig, *, time_limit_s: float = 20.0) -> TrainingCost:
    """Trains a few steps with the backbone that learns, evaluates a few batches, and keeps nothing.

    To be called in a process of its own, whose memory and threads are then those of a trial alone.

    Args:
        config: the trial.
        time_limit_s: about how long timing may take beside the first steps; no step is begun after its share of it.

    Raises:
        ConfigError: the model cannot be made.
        DataError: the data does not fit.
        DivergedError: the loss is not finite, whatever the learning rate.
    """
    config = _without_learning(config)
    if config.training.num_threads is not None:
        torch.set_num_threads(config.training.num_threads)
    part_s, began_s = time_limit_s / 3.0, time.perf_counter()
    workers, device = WorkerGroup.single(), resolve_device(config.training.device)
    model = build_model(config).to(device)
    data = open_data(config, preprocessing_of(model.backbone), workers=workers, device=str(device))
    build_s = time.perf_counter() - began_s
    timer = _Timer(model, config, device)
    scale, images = _batch_to_time(timer, data.train, part_s)
    view = _View(data.train, num=MAX_STEPS, images=images, limit_s=part_s)
    steps = [scale * seconds for seconds in timer.steps(view)]
    evaluations = _evaluations(model, config, data.val.num_batches(), device)
    evaluation_s, *pricing_s = (_timed_s(each, data.val, part_s) for each in evaluations)
    return TrainingCost(
        step_s=statistics.median(steps) if config.elastic is None else statistics.fmean(steps),
        low_step_s=min(steps),
        high_step_s=max(steps),
        steps_per_epoch=data.train.num_batches(),
        evaluation_s=evaluation_s,
        pricing_s=sum(pricing_s),
        warm_up_s=scale * _warm_up_s(model, _View(data.train, num=NUM_WARM_UP_STEPS, images=images), config),
        build_s=build_s,
        images_timed=images,
        is_scaled=scale > 1.0,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        gpu_peak_mib=torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else None,
    )


def _without_learning(config: TrialConfig) -> TrialConfig:
    """The same steps at learning rates of 0: a rate of the space that ruins models must not end a plan."""
    still = {"lr": 0.0, "min_lr": 0.0, "selector_warmup_lr": 0.0}
    return config.model_copy(update={"training": config.training.model_copy(update=still)})


def make_step(model: PrunedModel, config: TrialConfig, *, workers: WorkerGroup, device: torch.device) -> TrainingStep:
    """The loss of a batch as the trial trains by it, elastic or not."""
    if config.elastic is None:
        return make_training_step(model, config, workers=workers, device=device)
    return make_elastic_step(model, config, make_sampler(model, config), workers=workers, device=device)


class _View:
    """The first batches of a split, with at most so many images each, as long as there is time for a further one."""

    def __init__(self, batches: Batches, *, num: int, images: int, limit_s: float = float("inf")) -> None:
        self._batches, self._num, self._images, self._limit_s = batches, num, images, limit_s
        self.num_images, self.class_names = batches.num_images, batches.class_names

    def num_batches(self) -> int:
        """Those of the whole split, by which a schedule of learning rates goes."""
        return self._batches.num_batches()

    def epoch(self, epoch: int, only: Collection[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Two at least where there are as many: what the first one sets up must not count as a step's time."""
        began_s = time.perf_counter()
        for number, (images, labels) in enumerate(self._batches.epoch(epoch, only)):
            is_late = number >= 2 and time.perf_counter() - began_s > self._limit_s
            if number >= self._num or is_late:
                return
            yield images[: self._images], labels[: self._images]


class _Timer:
    """Times steps of one trial's training; all of them train the same model."""

    def __init__(self, model: PrunedModel, config: TrialConfig, device: torch.device) -> None:
        workers, self._device = WorkerGroup.single(), device
        self._epoch = min(config.training.freeze_epochs, config.training.epochs - 1)
        optimizer = make_optimizer(model, config.training)
        set_frozen(model, config.training, epoch=self._epoch)
        self._training = EpochTraining(
            make_step(model, config, workers=workers, device=device),
            optimizer,
            make_average(optimizer, config.training),
            config=config.training,
            preprocessing=preprocessing_of(model.backbone),
            workers=workers,
            device=device,
        )

    def steps(self, batches: _View) -> list[float]:
        """Seconds of each step, loading included; without the first one where there are others."""
        ends_s = [time.perf_counter()]
        self._training.run(batches, self._epoch, lambda _done, _num: ends_s.append(self._now_s()))
        times_s = [after - before for before, after in pairwise(ends_s)]
        return times_s[1:] or times_s

    def _now_s(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _batch_to_time(timer: _Timer, batches: Batches, limit_s: float) -> tuple[float, int]:
    """A whole batch's images over those of the steps to be timed: 1, unless two whole ones would take too long."""
    images, _ = next(iter(batches.epoch(0)))
    pilot = min(PILOT_IMAGES, len(images))
    expected_s = timer.steps(_View(batches, num=2, images=pilot))[-1] * len(images) / pilot
    timed = len(images) if 2.0 * expected_s <= limit_s else pilot
    return len(images) / timed, timed


@dataclass(frozen=True, kw_only=True, slots=True)
class _Evaluation:
    """Something that is evaluated: on `num_batches`, of which at most so many images each are timed."""

    run: Callable[[Labelled], object]
    num_batches: int
    max_images: int | None = None


def _evaluations(
    model: PrunedModel, config: TrialConfig, num_batches: int, device: torch.device
) -> Iterator[_Evaluation]:
    """What every epoch evaluates and, of an elastic trial, what the last one does in its place."""
    if config.elastic is None:
        yield _Evaluation(run=partial(evaluate, model, device=device), num_batches=num_batches)
        return
    sampler, elastic = make_sampler(model, config), config.elastic
    for num in (elastic.num_priced, elastic.num_priced_last or elastic.num_priced):
        schedules = spread_schedules(sampler, num, seed=config.training.seed)
        yield _Evaluation(
            run=partial(price_schedules, model, schedules, device=device),
            num_batches=num_batches_priced(config, num_batches),
            max_images=PILOT_IMAGES,
        )


def _timed_s(evaluation: _Evaluation, batches: Batches, limit_s: float) -> float:
    """Seconds of a whole evaluation, from as many batches as there is time for."""
    num_seen, began_s = 0.0, time.perf_counter()

    def seen() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal num_seen
        for images, labels in batches.epoch(0):
            part = len(images) if evaluation.max_images is None else min(len(images), evaluation.max_images)
            yield images[:part], labels[:part]
            num_seen += part / len(images)
            if time.perf_counter() - began_s > limit_s:
                return

    evaluation.run(seen())
    return (time.perf_counter() - began_s) / num_seen * evaluation.num_batches


def _warm_up_s(model: PrunedModel, batches: _View, config: TrialConfig) -> float:
    """Seconds of the selectors' warm-up, from its first steps."""
    num_steps = config.training.selector_warmup_steps
    if not model.has_learned_selectors or not num_steps:
        return 0.0
    few = min(NUM_WARM_UP_STEPS, num_steps)
    short = config.training.model_copy(update={"selector_warmup_steps": few})
    began_s = time.perf_counter()
    warm_up_selectors(model, batches, short)
    return (time.perf_counter() - began_s) / few * num_steps
