"""Runs a progressive insertion with real trainings, resumable after every epoch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.model_facts import trial_of
from search.progressive import ProgressiveInsertion, Step
from search.progressive_outcomes import Outcome, Outcomes, outcome_key, write_json
from search.progressive_report import FinalModel, ProgressiveReport, schedule_text
from search.progressive_target import Target
from search.shortened_training import shortened
from search.study_files import OUTCOMES_FILE, PROGRESSIVE_FOLDER
from search.trial_factory import CACHE
from spvit.errors import DivergedError
from spvit.schedule import PruningSchedule
from trainers.config import TrainingConfig, TrialConfig

if TYPE_CHECKING:
    from trainers.fine_tune import FineTuner

FOLDER, REPORT_FILE, FINAL_FOLDER = PROGRESSIVE_FOLDER, "progressive.json", "final"
Progress = Callable[[float, str], None]
ProgressBar = Callable[[str], AbstractContextManager[Progress]]


class ProgressiveRun:
    """The steps of one experiment's progressive insertion.

    Every step is fine-tuned from the original backbone, not from the step before: so the teacher stays the dense
    model, the selectors' start is shared by all rates of one set of blocks, a step's result does not depend on the
    steps before it, and the final training is the one that a trial of the search would get.

    Args:
        experiment: what is pruned; its paths are absolute.
        target: the model's tokens, what networks cost, and the budget.
        table: what `target` was made from. A latency term aims at the same numbers, also where its device drifted.
        folder: everything of the run is kept there; the caller holds its lock.
        bar: shows one training's progress under a title.
        on_step: told of each step.
    """

    def __init__(
        self,
        experiment: ExperimentConfig,
        target: Target,
        folder: Path,
        *,
        table: LatencyTable,
        bar: ProgressBar,
        on_step: Callable[[Step], None] = lambda _step: None,
    ) -> None:
        """Reads what is known.

        Raises:
            ConfigError: the model cannot be made.
            StorageError: what is known is damaged.
        """
        self._experiment, self._folder, self._bar, self._on_step = experiment, folder, bar, on_step
        self._options, self._target = experiment.progressive, target
        self._trial = trial_of(experiment, table)
        self._outcomes = Outcomes(folder / OUTCOMES_FILE)

    def run(self) -> ProgressiveReport:
        """Goes on to the end, and leaves the report in the folder.

        Raises:
            DivergedError: the final training's loss is not finite; in a step that is a verdict.
            DataError, CheckpointError, StorageError: what their names say; finished steps are kept.
        """
        conclusion = ProgressiveInsertion(self._options, self._target, self._top1, on_step=self._on_step).run()
        final = self._train_final(conclusion.merged) if conclusion.is_within_budget else None
        report = ProgressiveReport(
            study=self._experiment.study.name,
            options=self._options,
            budget=self._target.budget,
            conclusion=conclusion,
            finished_at=self._outcomes.last_finished_at,
            final=final,
        )
        write_json(self._folder / REPORT_FILE, report.to_dict())
        return report

    def _top1(self, schedule: PruningSchedule) -> float | None:
        config = self._config_of(schedule, shortened(self._trial.training, self._options.epochs_per_step))
        if (known := self._outcomes.get(config)) is not None:
            return known.top1
        top1 = self._train_step(config) if schedule.stages else self._evaluate_dense()
        self._outcomes.add(config, Outcome(top1=top1, finished_at=time.time()))
        shutil.rmtree(self._step_folder(config), ignore_errors=True)  # checkpoints of large models would fill a disk
        return top1

    def _evaluate_dense(self) -> float | None:
        from trainers.dense import evaluate_dense

        with self._bar("dense model") as progress:
            progress(0.0, "evaluating")
            evaluation = evaluate_dense(self._trial.model, self._trial.data, self._trial.training)
        return None if evaluation is None else evaluation.top1

    def _train_step(self, config: TrialConfig) -> float | None:
        from trainers.fine_tune import FineTuner

        tuner = FineTuner(config, self._step_folder(config), cache=self._folder / CACHE)
        try:
            self._train(tuner, config)
        except DivergedError:
            return None
        return tuner.history[-1].evaluation.top1

    def _train_final(self, schedule: PruningSchedule) -> FinalModel:
        from trainers.fine_tune import FineTuner

        config, folder = self._config_of(schedule, self._final_training), self._folder / FINAL_FOLDER
        tuner = FineTuner(config, folder, cache=self._folder / CACHE)
        self._train(tuner, config)
        top1 = tuner.history[-1].evaluation.top1
        if self._outcomes.get(config) is None:
            self._outcomes.add(config, Outcome(top1=top1, finished_at=time.time()))
        return FinalModel(
            schedule=schedule,
            latency=self._target.latency(schedule),
            top1=top1,
            num_epochs=tuner.epoch,
            directory=str(folder),
        )

    @property
    def _final_training(self) -> TrainingConfig:
        epochs = self._options.final_epochs
        return self._trial.training if epochs is None else shortened(self._trial.training, epochs)

    def _train(self, tuner: FineTuner, config: TrialConfig) -> None:
        while not tuner.is_done:
            title = f"{schedule_text(config.pruning.schedule)}, epoch {tuner.epoch + 1}/{config.training.epochs}"
            with self._bar(title) as progress:
                tuner.run_epoch(partial(_report_step, progress))

    def _config_of(self, schedule: PruningSchedule, training: TrainingConfig) -> TrialConfig:
        pruning = self._trial.pruning.model_copy(update={"schedule": schedule})
        return self._trial.model_copy(update={"pruning": pruning, "training": training})

    def _step_folder(self, config: TrialConfig) -> Path:
        return self._folder / "steps" / outcome_key(config)


def _report_step(progress: Progress, done: int, steps: int) -> None:
    progress(done / steps, f"step {done} of {steps}")
