"""Bounds what a running search keeps on the disk."""

from __future__ import annotations

import logging
from pathlib import Path

from search.cleaning import TRIALS, remove_half_written, unneeded_checkpoints
from search.keep_rules import NUM_TO_GO_ON, checkpoints_to_keep
from search.listener import StudyListener
from search.records import StudyRecord, TrialRecord
from search.search_config import KeepCheckpoints
from trainers.safe_folder import remove_folder

LOGGER = logging.getLogger(__name__)


class CheckpointKeeper(StudyListener):
    """Removes checkpoints as soon as `search.keep_checkpoints` has no use for them.

    A trial's worker is idle when the trial ends, and no worker is at work when a search begins or ends: nothing is
    removed that is being written.
    """

    def __init__(self, keep: KeepCheckpoints) -> None:
        self._keep = keep
        self._study: StudyRecord | None = None
        self._kept: dict[int, int] = {}

    def on_study_start(self, study: StudyRecord) -> None:
        """Make up for a driver that died."""
        self._study = study
        self._apply(study)
        self._sweep(study)

    def on_study_end(self, study: StudyRecord) -> None:
        """Workers that were killed while they wrote or removed a checkpoint leave half of one."""
        self._sweep(study)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """The trial may be stopped, or have pushed others off the front."""
        if self._study is None:
            return
        self._study = self._study.with_trial(trial)
        self._apply(self._study)

    def _apply(self, study: StudyRecord) -> None:
        for root, num_kept in checkpoints_to_keep(study, self._keep).items():
            if num_kept == NUM_TO_GO_ON or self._kept.get(root) == num_kept:
                continue
            self._kept[root] = num_kept
            self._remove(Path(study.directory) / TRIALS / str(root), num_kept)

    def _sweep(self, study: StudyRecord) -> None:
        try:
            remove_half_written(Path(study.directory))
        except OSError as error:
            LOGGER.warning("Half a checkpoint could not be removed: %s; `spvit-search clean` does it", error)

    def _remove(self, directory: Path, num_kept: int) -> None:
        try:
            for path in unneeded_checkpoints(directory, num_kept):
                remove_folder(path)
        except OSError as error:
            LOGGER.warning("Checkpoints in %s could not be removed: %s; `spvit-search clean` does it", directory, error)
