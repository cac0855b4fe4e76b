"""The fine-tuning of one trial, epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spvit.errors import DivergedError, UsageError
from spvit.pruned_model import PrunedModel
from trainers.build import build_model, identities_of, identity_of, open_data
from trainers.checkpoint import SavedCheckpoint, latest_checkpoint, save_checkpoint
from trainers.compiling import compile_blocks
from trainers.config import TrialConfig
from trainers.effective import Facts, built_facts
from trainers.ema import make_average
from trainers.epoch_training import EpochTraining, Progress
from trainers.evaluate import evaluate
from trainers.loss import TrainingStep, make_criterion
from trainers.metrics import EpochMetrics, Evaluation, PricedSchedule, Weights
from trainers.optim import make_optimizer, set_frozen
from trainers.preprocessing import preprocessing_of
from trainers.sampling import Purpose, stream
from trainers.seeding import torch_seeded
from trainers.selector_start import start_selectors
from trainers.teacher import make_teacher
from trainers.workers import WorkerGroup, resolve_device

__all__ = ["DivergedError", "FineTuner", "make_training_step"]


def make_training_step(
    model: PrunedModel, config: TrialConfig, *, workers: WorkerGroup, device: torch.device
) -> TrainingStep:
    """The loss of a batch as a trial trains by it: model, teacher and terms, compiled where that is asked for."""
    criterion = make_criterion(model, config, workers).to(device)
    teacher = make_teacher(model, config, needed=config.losses.needs_teacher)
    step = TrainingStep(model, teacher, criterion, config)
    if config.training.compile:
        compile_blocks(step, device)
    return step


class FineTuner:
    """Fine-tunes one trial epoch by epoch. A run that was cut off continues from its newest whole checkpoint.

    On CPUs of one type with one thread count the result depends on the configuration alone, to the bit, interrupted or
    not. On GPUs sums are made in whatever order their threads end: there it repeats but for rounding.
    """

    def __init__(
        self,
        config: TrialConfig,
        directory: Path | None = None,
        *,
        cache: Path | None = None,
        workers: WorkerGroup | None = None,
    ) -> None:
        """Build model and data, and read the newest checkpoint.

        Args:
            config: the trial.
            directory: where checkpoints are; without one nothing is saved or resumed.
            cache: where trials of one study share what they have in common; nothing is shared without one.
            workers: the processes that train together; this one alone where absent.

        Raises:
            ConfigError: the model cannot be made.
            DataError: the data does not fit.
            StorageError: checkpoints cannot be read.
        """
        if config.training.num_threads is not None:
            torch.set_num_threads(config.training.num_threads)
        self._config, self._directory, self._cache = config, directory, cache
        self._workers = workers or WorkerGroup.single()
        self._device = resolve_device(config.training.device)
        self._model = build_model(config).to(self._device)
        self._preprocessing = preprocessing_of(self._model.backbone)
        self._data = open_data(config, self._preprocessing, workers=self._workers, device=str(self._device))
        self._optimizer = make_optimizer(self._model, config.training)
        self._average = make_average(self._optimizer, config.training)
        self._step = self._make_step()
        self._training = EpochTraining(
            self._step,
            self._optimizer,
            self._average,
            config=config.training,
            preprocessing=self._preprocessing,
            workers=self._workers,
            device=self._device,
        )
        self._history: list[EpochMetrics] = []
        self._resume()

    @property
    def model(self) -> PrunedModel:
        """The model as trained so far; checkpoints hold the moving average of its weights where there is one."""
        return self._model

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self._history)

    @property
    def is_done(self) -> bool:
        """Whether all epochs are finished."""
        return self.epoch >= self._config.training.epochs

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        """The metrics of every finished epoch, also of those before a restart."""
        return tuple(self._history)

    @property
    def facts(self) -> Facts:
        """What was built, told by the objects themselves."""
        return built_facts(self._model, self._step.criterion.weights, self._training.config)

    @property
    def priced(self) -> tuple[PricedSchedule, ...]:
        """The schedules that an epoch evaluates, where it evaluates more than the model's own."""
        return ()

    def fit(self, on_epoch: Callable[[EpochMetrics], bool] | None = None) -> tuple[EpochMetrics, ...]:
        """Run the epochs that are left, until `on_epoch` returns False. Returns the whole history."""
        while not self.is_done:
            metrics = self.run_epoch()
            if on_epoch is not None and not on_epoch(metrics):
                break
        return self.history

    def run_epoch(self, progress: Progress | None = None) -> EpochMetrics:
        """Train one epoch, evaluate, and save a checkpoint.

        Args:
            progress: told (steps done, steps of the epoch) after each step.

        Raises:
            UsageError: all epochs are finished.
            DivergedError: the loss is not finite.
            StorageError: the checkpoint could not be written.
        """
        if self.is_done:
            raise UsageError(f"All {self._config.training.epochs} epochs are finished; raise training.epochs for more.")
        if self.epoch == 0:
            self._warm_up()
        started = time.perf_counter()
        loss_terms = self._train(progress)
        trained = time.perf_counter()
        evaluation = self._evaluate()
        metrics = EpochMetrics(
            epoch=self.epoch + 1,
            evaluation=evaluation,
            loss_terms=loss_terms,
            weights=Weights.RAW if self._average is None else Weights.EMA,
            lr=self._training.lr((self.epoch + 1) * self._num_steps - 1, self._num_steps),
            train_seconds=trained - started,
            eval_seconds=time.perf_counter() - trained,
            images_per_second=self._num_steps * self._images_per_step / (trained - started),
            priced=self.priced,
        )
        self._workers.barrier()  # fails where the group was aborted, after which the last sums may be worth nothing
        self._history.append(metrics)
        self._save()
        return metrics

    @property
    def _num_steps(self) -> int:
        return self._data.train.num_batches()

    @property
    def _images_per_step(self) -> int:
        images = min(self._config.training.images_per_epoch or self._data.train.num_images, self._data.train.num_images)
        return min(self._config.training.batch_size, images)

    def _make_step(self) -> TrainingStep:
        return make_training_step(self._model, self._config, workers=self._workers, device=self._device)

    def _warm_up(self) -> None:
        set_frozen(self._model, self._config.training, epoch=0)
        with torch_seeded(self._noise_seed(Purpose.WARMUP_NOISE)):
            start_selectors(self._model, self._data.train, self._config, cache=self._cache, workers=self._workers)
        if self._average is not None:
            self._average.restart()

    def _train(self, progress: Progress | None) -> dict[str, float]:
        set_frozen(self._model, self._config.training, epoch=self.epoch)
        with torch_seeded(self._noise_seed(Purpose.NOISE)):
            return self._training.run(self._data.train, self.epoch, progress)

    def _noise_seed(self, purpose: Purpose) -> int:
        rng = stream(self._config.training.seed, purpose, self.epoch, self._workers.rank)
        return int(rng.integers(2**62))

    def _evaluate(self) -> Evaluation:
        with self._exported_weights():
            evaluation = self._accuracy(self._val_batches())
        if not math.isfinite(evaluation.loss):
            raise DivergedError(
                f"The validation loss must be finite, but after epoch {self.epoch + 1} it is {evaluation.loss}. "
                f"Lower training.lr."
            )
        return evaluation

    def _val_batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        return self._data.val.epoch(0)

    def _accuracy(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
        return evaluate(self._model, batches, device=self._device, workers=self._workers)

    def _resume(self) -> None:
        """The main worker reads; the others get what it read, and need not see its folder."""
        saved = None
        if self._directory is not None and self._workers.is_main:
            saved = latest_checkpoint(self._directory, identity=identities_of(self._config))
        state = self._workers.from_main(None if saved is None else self._read(saved))
        if state is not None:
            self._load(state)

    def _read(self, saved: SavedCheckpoint) -> Mapping[str, Any]:
        averaging = self._average is not None
        return {
            "weights": saved.weights(self._device),
            "training_weights": saved.training_weights(self._device) if averaging else None,
            "optimizer": saved.optimizer(),
            "history": saved.meta["history"],
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self._model.load_state_dict(state["weights"])
        if self._average is not None:
            self._average.restart()
            self._model.load_state_dict(state["training_weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._history = [EpochMetrics.from_dict(values) for values in state["history"]]

    def _save(self) -> None:
        if self._directory is not None and self._workers.is_main:
            averaging = self._average is not None
            trained = {k: v.clone() for k, v in self._model.state_dict().items()} if averaging else None
            with self._exported_weights():
                save_checkpoint(
                    self._directory,
                    self.epoch,
                    weights=self._model.state_dict(),
                    training_weights=trained,
                    optimizer=self._optimizer.state_dict(),
                    meta=self._meta(),
                )
        self._workers.barrier()

    def _exported_weights(self) -> AbstractContextManager[None]:
        """The model holds the weights that are evaluated and exported: their moving average where there is one."""
        return nullcontext() if self._average is None else self._average.lent()

    def _meta(self) -> dict[str, Any]:
        return {
            "identity": identity_of(self._config),
            "config": self._config.to_dict(),
            "history": [metrics.to_dict() for metrics in self._history],
        }
