"""An experiment with what the files that it names tell of it, before anything is made from it."""

from __future__ import annotations

from pathlib import Path

from search.config import ExperimentConfig
from search.data_classes import with_num_classes


def with_what_files_tell(experiment: ExperimentConfig, runs_dir: Path | None = None) -> ExperimentConfig:
    """The experiment with the number of its data's classes, the hash of `[start]`'s file, and an absolute folder.

    Args:
        experiment: as its file says.
        runs_dir: the folder that holds the studies; `study.directory` if absent.

    Raises:
        ConfigError: the model or the data set has a name that its library does not know.
        CheckpointError: `start.path` cannot be read.
    """
    study = experiment.study
    directory = (runs_dir or study.directory).absolute()
    return with_num_classes(experiment).model_copy(
        update={"study": study.model_copy(update={"directory": directory}), "start": experiment.start.pinned()}
    )
