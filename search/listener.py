"""Who wants to know how a search goes: MLflow, the terminal, a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from search.records import Rejection, StudyRecord, TrialRecord


class StudyListener:
    """Told by the launcher, on the driver's main thread, in the order of events. Every hook may do nothing.

    A listener decides nothing and must return at once: slow work (network, disk) belongs on a thread of its own. It
    must not raise; the launcher logs and goes on if it does.

    Life-cycle: `on_open`, `on_study_start`, then for each trial `on_trial_start` (where proposals were rejected on the
    way to it, `on_rejections` before), `on_epoch` any number of times
    (the result as `EpochMetrics.to_dict()` gives it), `on_trial_end`; last `on_study_end`, after which `close`
    waits for what is still to be written. A resumed study starts again with `on_study_start`; trials that were
    finished before are in the record and are not announced again.
    """

    def on_open(self, note_run: Callable[[int | None, str], None], note_experiment: Callable[[str], None]) -> None:
        """Before everything else: how to keep in the study where MLflow has it.

        `note_run(number, run_id)` keeps the run of a trial, or of the whole search where `number` is None;
        `note_experiment(experiment_id)` keeps the experiment. Both may be called from any thread until `close` returns.
        """

    def on_study_start(self, study: StudyRecord) -> None:
        """The search begins or goes on."""

    def on_rejections(self, rejections: Mapping[Rejection, int]) -> None:
        """Proposals were rejected before any training; how many in all, by reason."""

    def on_trial_start(self, trial: TrialRecord) -> None:
        """A proposal within the budget became a trial."""

    def on_epoch(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """A trial finished an epoch; `trial.curve` holds it already."""

    def on_trial_end(self, trial: TrialRecord) -> None:
        """A trial is COMPLETE, PRUNED or FAIL; `trial.reason` says why."""

    def on_study_end(self, study: StudyRecord) -> None:
        """No trial is running any more: the search is finished or stopped."""

    def close(self) -> None:
        """Wait, for a bounded time, until everything is written."""
