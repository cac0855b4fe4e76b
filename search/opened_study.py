"""A study from Python: what the commands that look at one do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from search.records import StudyRecord, TrialRecord
from search.selection import best_trial, find_trial, front_trials

if TYPE_CHECKING:
    from pandas import DataFrame

    from search.choosing import Choice
    from search.export_report import ExportReport
    from search.summary import StudySummary
    from search.trial_detail import TrialDetail
    from search.trial_pair import TrialPair

logger = logging.getLogger(__name__)
RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A study as it stood when it was read; `reload` reads it again.

    Top-1s are in percent, latencies in milliseconds. The functions of `search.results` take its `record`.
    """

    record: StudyRecord

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record.name

    @property
    def directory(self) -> Path:
        """The folder with everything that belongs to it."""
        return Path(self.record.directory)

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial, in the order of their numbers."""
        return self.record.trials

    def trial(self, number: int) -> TrialRecord:
        """One trial.

        Raises:
            UsageError: there is none of this number.
        """
        return find_trial(self.record, number)

    def front(self) -> tuple[TrialRecord, ...]:
        """The finished trials that no other beats in both accuracy and latency, fastest first."""
        return front_trials(self.record)

    def best(self, max_latency_ms: float | None = None) -> TrialRecord | None:
        """The most accurate finished trial within a latency, the study's budget where none is given; None without one.

        By the numbers alone: `choose` knows the noise of the validation images.
        """
        return best_trial(self.record, max_latency_ms)

    def choose(
        self, *, max_latency_ms: float | None = None, min_top1: float | None = None, evaluate: bool = False
    ) -> Choice:
        """The trial to take: the most accurate within a latency, the fastest with a top-1, or else the front's knee.

        Of trials that the images cannot tell apart it is the fastest, and of those about as fast the simplest.

        Args:
            max_latency_ms: the upper end of the trial's predicted latency is within it.
            min_top1: percent.
            evaluate: compare candidates image by image, from their checkpoints; this takes a while once.

        Raises:
            UsageError: both wishes were given.
            NothingFeasibleError: no finished trial meets it; names the nearest and by how much it misses.
        """
        from search.answers import by_answers
        from search.choosing import choose

        compare = by_answers(self.record, log_progress if evaluate else None)
        return choose(self.record, compare, max_latency_ms=max_latency_ms, min_top1=min_top1)

    def show(self, number: int) -> TrialDetail:
        """Everything that is known of one trial.

        Raises:
            UsageError: there is none of this number.
        """
        from search.trial_detail import trial_detail

        return trial_detail(self.record, number)

    def compare(self, first: int, second: int, *, evaluate: bool = False) -> TrialPair:
        """Two trials side by side: what they differ in, accuracy and latency with intervals.

        Raises:
            UsageError: there is no such trial, or it is one and the same.
            CheckpointError, DataError: `evaluate` finds no checkpoint or other images.
        """
        from search.answers import by_answers, evaluated_answers
        from search.noise import paired_difference
        from search.trial_pair import check_comparable, trial_pair

        pair = self.trial(first), self.trial(second)
        check_comparable(self.record, *pair)
        if evaluate:
            top1 = paired_difference(*(evaluated_answers(self.record, trial, log_progress) for trial in pair))
            return trial_pair(self.record, *pair, top1)
        return trial_pair(self.record, *pair, by_answers(self.record)(*pair))

    def summary(self) -> StudySummary:
        """Counts, the best trial of each budget, hypervolume, time used."""
        from search.summary import summarise

        return summarise(self.record)

    def frame(self) -> DataFrame:
        """Every trial as a row of a pandas table; see `search.results.trials_frame`."""
        from search.results import trials_frame

        return trials_frame(self.record)

    def export(
        self,
        output: Path | str | None = None,
        *,
        trial: int | None = None,
        max_latency_ms: float | None = None,
        evaluate: bool = False,
        formats: Sequence[str] | None = None,
        force: bool = False,
    ) -> ExportReport:
        """Writes one trial's model to a folder, evaluated and timed from there; `choose` within the budget by default.

        Args:
            output: the folder; `export/trial_N` in the study's own where absent.
            trial: this one, by its number.
            max_latency_ms: or what `choose` takes within this; why, where it is not the best, is logged.
            evaluate: as of `choose`.
            formats: what is written beside the weights, of `onnx` and `torch_export`; all that can be if absent.
            force: replace an export that is there.

        Raises:
            UsageError: there is no such finished trial or format, or the folder exists and is not to be replaced.
            NothingFeasibleError: no finished trial is within the latency.
        """
        from search.answers import by_answers
        from search.choosing import choose_to_take
        from search.exporting import export_trial
        from search.formats import available_formats, formats_named

        compare = by_answers(self.record, log_progress if evaluate else None)
        choice = choose_to_take(self.record, compare, number=trial, max_latency_ms=max_latency_ms)
        if choice.reason:
            logger.info("trial %d instead of %d: %s", choice.trial.number, choice.best.number, choice.reason)
        return export_trial(
            self.record,
            self.directory,
            choice.trial,
            max_latency_ms=max_latency_ms,
            output=None if output is None else Path(output),
            force=force,
            formats=available_formats() if formats is None else formats_named(formats),
            progress=log_progress,
        )

    def reload(self) -> Study:
        """The study as it stands now, for instance while a search is running.

        Raises:
            StorageError: its storage cannot be read.
        """
        return _read(self.directory)


def load_study(name: str, *, runs_dir: Path | str = RUNS) -> Study:
    """A study by its name, also while it is running.

    Args:
        name: of the study.
        runs_dir: the folder that holds the studies.

    Raises:
        UsageError: there is no such study; names those that there are.
        StorageError: its storage cannot be read.
    """
    return _read((Path(runs_dir) / name).absolute())


def log_progress(share: float, text: str) -> None:
    """Says how far a step is, to whoever listens to this package's log."""
    logger.info("%3.0f %% %s", 100 * share, text)


def _read(directory: Path) -> Study:
    from search.study import read_study

    return Study(record=replace(read_study(directory), directory=str(directory)))
