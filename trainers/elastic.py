"""The training of one set of weights for many schedules, epoch by epoch, and what it finds them to be worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from spvit.errors import CheckpointError
from spvit.schedule import PruningSchedule
from trainers.config import TrialConfig
from trainers.effective import Facts
from trainers.elastic_parts import (
    elastic_of,
    make_elastic_step,
    make_sampler,
    num_batches_priced,
    spread_schedules,
)
from trainers.elastic_weights import elastic_weights
from trainers.fine_tune import FineTuner
from trainers.further_training import further_training
from trainers.loss import TrainingStep
from trainers.many_schedules import ScheduleScores, price_schedules
from trainers.metrics import Evaluation, PricedSchedule
from trainers.start_weights import StartWeights

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
        self._sampler = make_sampler(self._model, self._config)
        self._priced = self._spread(elastic_of(self._config).num_priced)
        return make_elastic_step(self._model, self._config, self._sampler, workers=self._workers, device=self._device)

    @property
    def facts(self) -> Facts:
        """None: a proposal names no counts to compare with, since every step draws its own."""
        return {}

    def _load(self, state: Mapping[str, Any]) -> None:
        super()._load(state)
        self._priced = self._history[-1].priced

    def _spread(self, num: int) -> tuple[PricedSchedule, ...]:
        spread = spread_schedules(self._sampler, num, seed=self._config.training.seed)
        return tuple(PricedSchedule(schedule=each, cost=self._sampler.price(each)) for each in spread)

    def _accuracy(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
        num_last = elastic_of(self._config).num_priced_last
        if num_last is not None and self.epoch + 1 == self._config.training.epochs:
            self._priced = self._spread(num_last)
        scores = self._scores([priced.schedule for priced in self._priced], batches)
        self._priced = tuple(
            priced.found(top1) for priced, top1 in zip(self._priced, scores.top1.tolist(), strict=True)
        )
        return Evaluation(
            top1=float(scores.top1.mean()),
            top5=float(scores.top5.mean()),
            loss=float(scores.losses.mean()),
            num_images=scores.num_images,
        )

    def _val_batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """As many as it takes, at even distances: images may be sorted by class."""
        num_batches = self._data.val.num_batches()
        num_taken = num_batches_priced(self._config, num_batches)
        return self._data.val.epoch(0, only={number * num_batches // num_taken for number in range(num_taken)})

    def _scores(self, schedules: Sequence[PruningSchedule], batches: Iterable[tuple[Tensor, Tensor]]) -> ScheduleScores:
        return price_schedules(self._model, schedules, batches, device=self._device, workers=self._workers)


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
