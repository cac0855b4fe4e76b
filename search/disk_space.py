"""Whether the disk has room for what a search will write, asked before anything is trained."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from search.config import ExperimentConfig
from search.records import StudyRecord, TrialState
from search.search_config import KeepCheckpoints
from search.study_files import STUDY_FILE
from search.summary import num_counted
from spvit.errors import StorageError
from trainers.checkpoint_names import NUM_KEPT

MIB = 1 << 20
RESERVE_BYTES = 64 * MIB
"""For the study itself, its tracking and reports."""
USUAL_FRONT = 16
"""Trials on a front, or best within a budget, that a search is expected to keep at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceNeeded:
    """What a search will write at most: so many checkpoints of one size, and a reserve."""

    checkpoint_bytes: int
    num_running: int
    num_kept: int

    @property
    def num_bytes(self) -> int:
        """All together."""
        return self.checkpoint_bytes * (self.num_running + self.num_kept) + RESERVE_BYTES

    def __str__(self) -> str:
        return (
            f"{_mib(self.num_bytes)} ({self.num_running} checkpoints of {_mib(self.checkpoint_bytes)} for running "
            f"trials, {self.num_kept} to be kept, {_mib(RESERVE_BYTES)} for the study)"
        )


def space_needed(
    experiment: ExperimentConfig, checkpoint_bytes: int, num_done: int = 0, num_elastic_done: int = 0
) -> SpaceNeeded:
    """What the trials still to come will write; one more than is kept of each that runs, while it is being written.

    Where checkpoints are published, the study's folder has those of the elastic trial alone that schedules start from.

    Args:
        experiment: the search.
        checkpoint_bytes: of one trial's checkpoint.
        num_done: trials that count and have ended.
        num_elastic_done: elastic trials that were trained to their end.
    """
    search = experiment.search
    num_trials = max(0, search.num_schedules - num_done)
    num_elastic = 0 if num_done else max(0, _num_elastic(experiment) - num_elastic_done)
    if experiment.study.checkpoints is not None:
        return SpaceNeeded(checkpoint_bytes=checkpoint_bytes, num_running=0, num_kept=min(1, num_elastic))
    baseline = 1 if (num_trials or num_elastic) and not num_done else 0
    num_kept = num_trials if search.keep_checkpoints is KeepCheckpoints.ALL else min(num_trials, USUAL_FRONT)
    return SpaceNeeded(
        checkpoint_bytes=checkpoint_bytes,
        num_running=(NUM_KEPT + 1) * min(search.num_concurrent, max(num_trials, num_elastic)),
        num_kept=num_kept + num_elastic + baseline,
    )


def _num_elastic(experiment: ExperimentConfig) -> int:
    """Elastic trials at most, each of which keeps its last checkpoint whatever `search.keep_checkpoints` says."""
    return experiment.search.elastic.num_exploring if experiment.has_elastic_trials else 0


def check_disk_space(experiment: ExperimentConfig, folder: Path) -> None:
    """Refuses a search whose checkpoints will not fit on the disk of the study's folder.

    Raises:
        StorageError: says what is needed, what is there, and what to do.
    """
    from search.model_facts import trial_of
    from trainers.checkpoint_size import checkpoint_bytes

    study = _study(folder)
    num_done = 0 if study is None else num_counted(study)
    if num_done >= experiment.search.num_trials:
        return
    num_elastic_done = 0 if study is None else sum(trial.state is TrialState.COMPLETE for trial in study.elastic)
    needed = space_needed(experiment, checkpoint_bytes(trial_of(experiment)), num_done, num_elastic_done)
    require_space(needed, folder)


def require_space(needed: SpaceNeeded, folder: Path) -> None:
    """Refuses where there is less than is needed.

    Raises:
        StorageError: see `check_disk_space`.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free >= needed.num_bytes:
        return
    raise StorageError(
        f"{folder}: the search needs {needed}, but {_mib(free)} are free. Free space (`spvit-search clean`), set "
        f"study.directory to another disk, or lower search.num_concurrent; search.keep_checkpoints = 'front' keeps less"
    )


def _study(folder: Path) -> StudyRecord | None:
    from search.study import read_study

    return read_study(folder) if (folder / STUDY_FILE).is_file() else None


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / MIB:,.0f} MiB"
