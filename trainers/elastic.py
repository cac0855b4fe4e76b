"""The training of one set of weights for many schedules, epoch by epoch, and what it finds them to be worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from spvit.errors import CheckpointError, ConfigError
from spvit.pruned_model import PrunedModel
from spvit.schedule import PruningSchedule
from trainers.compiling import compile_blocks
from trainers.config import ElasticConfig, ElasticTeacher, TrialConfig
from trainers.effective import Facts
from trainers.elastic_step import DENSE, ElasticStep, StepPlans
from trainers.elastic_weights import elastic_weights
from trainers.fine_tune import FineTuner
from trainers.further_training import further_training
from trainers.loss import TrainingStep
from trainers.many_schedules import ScheduleScores, price_schedules
from trainers.metrics import Evaluation, PricedSchedule
from trainers.sampling import Purpose, stream
from trainers.schedule_prices import price_of_schedules
from trainers.schedule_sampler import ScheduleSampler, ScheduleSpace
from trainers.start_weights import StartWeights
from trainers.teacher import make_teacher

__all__ = ["ElasticTuner", "elastic_of", "make_sampler", "specialised", "specialised_from"]


class ElasticTuner(FineTuner):
    """Fine-tunes an elastic trial: as `FineTuner`, but each step trains the schedule that it draws.

    `model` runs under any schedule of the trial's space by `model.at(schedule)`. An epoch's evaluation is the mean over
    the `priced` schedules, which are evenly spread over the costs.

    Raises:
        ConfigError: besides what `FineTuner` raises, the trial is not elastic or has nothing to draw.
    """

    @property
    def priced(self) -> tuple[PricedSchedule, ...]:
        """The schedules that each epoch evaluates, with their costs and what the last one found, the cheapest first."""
        return self._priced

    def price(self, schedules: Sequence[PruningSchedule]) -> ScheduleScores:
        """Accuracies of schedules with the weights as they would be exported now, on the validation images."""
        with self._exported_weights():
            return self._scores(schedules, self._data.val.epoch(0))

    def _make_step(self) -> TrainingStep:
        config, elastic = self._config, elastic_of(self._config)
        sampler = self._sampler = make_sampler(self._model, config)
        self._priced = self._spread(elastic.num_priced)
        is_asked = elastic.teacher is ElasticTeacher.ORIGINAL and config.losses.needs_teacher
        step = ElasticStep(
            self._model,
            make_teacher(self._model, config, needed=is_asked),
            config,
            StepPlans(sampler, seed=config.training.seed, sandwich_share=elastic.sandwich_share),
            self._workers,
        ).to(self._device)
        if config.training.compile:
            compile_blocks(step, self._device)
        return step

    @property
    def facts(self) -> Facts:
        """None: a proposal names no counts to compare with, since every step draws its own."""
        return {}

    def _load(self, state: Mapping[str, Any]) -> None:
        super()._load(state)
        self._priced = self._history[-1].priced

    def _spread(self, num: int) -> tuple[PricedSchedule, ...]:
        """Schedules at evenly spread costs, the same whenever they are asked for."""
        spread = self._sampler.spread(num, stream(self._config.training.seed, Purpose.PRICED))
        return tuple(PricedSchedule(schedule=each, cost=self._sampler.price(each)) for each in spread)

    def _accuracy(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
        num_last = elastic_of(self._config).num_priced_last
        if num_last is not None and self.epoch + 1 == self._config.training.epochs:
            self._priced = self._spread(num_last)
        scores = self._scores([priced.schedule for priced in self._priced], self._some(batches))
        self._priced = tuple(
            priced.found(top1) for priced, top1 in zip(self._priced, scores.top1.tolist(), strict=True)
        )
        return Evaluation(
            top1=float(scores.top1.mean()),
            top5=float(scores.top5.mean()),
            loss=float(scores.losses.mean()),
            num_images=scores.num_images,
        )

    def _some(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterable[tuple[Tensor, Tensor]]:
        """As many batches as it takes, at even distances: images may be sorted by class."""
        wanted, num_batches = elastic_of(self._config).priced_images, self._data.val.num_batches()
        if wanted is None:
            return batches
        share = self._workers.share_of_batch(self._config.training.batch_size)
        num_taken = min(num_batches, max(1, math.ceil(wanted / (share * self._workers.world_size))))
        taken = {number * num_batches // num_taken for number in range(num_taken)}
        return (batch for number, batch in enumerate(batches) if number in taken)

    def _scores(self, schedules: Sequence[PruningSchedule], batches: Iterable[tuple[Tensor, Tensor]]) -> ScheduleScores:
        return price_schedules(self._model, schedules, batches, device=self._device, workers=self._workers)


def elastic_of(config: TrialConfig) -> ElasticConfig:
    """What makes a trial elastic.

    Raises:
        ConfigError: it is not.
    """
    if config.elastic is None:
        raise ConfigError("An elastic training needs a trial with an [elastic] section, but this one has none.")
    return config.elastic


def make_sampler(model: PrunedModel, config: TrialConfig) -> ScheduleSampler:
    """What an elastic trial draws its schedules by.

    Raises:
        ConfigError: the trial is not elastic, has nothing to draw, or its table does not know its selectors.
    """
    elastic, price = elastic_of(config), price_of_schedules(config, model)
    space = ScheduleSpace.from_config(elastic, config.pruning.schedule, model.geometry)
    return ScheduleSampler(space, price, max_price=elastic.max_cost_share * price(DENSE))


def specialised(
    config: TrialConfig, schedule: PruningSchedule, directory: Path, *, epochs: int | None = None
) -> TrialConfig:
    """The trial that fine-tunes one schedule from the weights of an elastic one, by `FineTuner` as any other.

    It starts between these and the original backbone (`StartWeights.share_for`) and learns at lower rates
    (`further_training`).

    Args:
        config: the elastic trial.
        schedule: of its space.
        directory: where its checkpoints are; the newest whole one is used.
        epochs: of the new trial; as many as the elastic one had where absent.

    Raises:
        CheckpointError: there is no whole checkpoint.
    """
    start = elastic_weights(directory)
    if start is None:
        raise CheckpointError(
            f"A schedule was to be specialised from the elastic weights in {directory}, but no whole checkpoint is "
            "there. Train the elastic trial for an epoch at least."
        )
    return specialised_from(start, config, schedule, epochs=epochs)


def specialised_from(
    start: StartWeights, config: TrialConfig, schedule: PruningSchedule, *, epochs: int | None = None
) -> TrialConfig:
    """As `specialised`, from weights that are known already; reads no file."""
    training = further_training(config.training)
    if epochs is not None:
        training = training.model_copy(update={"epochs": epochs})
    return config.model_copy(
        update={
            "pruning": config.pruning.model_copy(update={"schedule": schedule}),
            "training": training,
            "elastic": None,
            "start": start,
        }
    )
