"""An experiment as a command goes by it: with what its file leaves to other files and to the current folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from search.config import ExperimentConfig
from search.data_classes import with_num_classes
from spvit.errors import CheckpointError


def complete_experiment(experiment: ExperimentConfig, runs_dir: Path | None = None) -> ExperimentConfig:
    """The experiment with the number of its data's classes, the hash of `[start]`'s file, and an absolute folder.

    Files that cannot be read decide nothing: a device can be profiled without them, and those who need them look again.

    Args:
        experiment: as its file says.
        runs_dir: the folder that holds the studies; `study.directory` if absent.

    Raises:
        ConfigError: the model or the data set has a name that its library does not know.
    """
    study, start = experiment.study, experiment.start
    directory = (runs_dir or study.directory).absolute()
    with suppress(CheckpointError):
        start = start.pinned()
    return with_num_classes(experiment).model_copy(
        update={"study": study.model_copy(update={"directory": directory}), "start": start}
    )
