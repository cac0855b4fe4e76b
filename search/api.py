"""A search from Python: what `spvit-search launch` and `resume` do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.config import ExperimentConfig
from search.listener import StudyListener
from search.opened_study import RUNS, Study, load_study, log_progress
from spvit.errors import UsageError

if TYPE_CHECKING:
    from latency_tables.table import LatencyTable

logger = logging.getLogger(__name__)


def launch(
    experiment: ExperimentConfig | Path | str,
    table: LatencyTable | None = None,
    *,
    overrides: Sequence[str] = (),
    runs_dir: Path | str | None = None,
    address: str | None = None,
    listeners: Sequence[StudyListener] = (),
) -> Study:
    """Searches to the end, or goes on with a study of this name that was stopped.

    Progress goes to stderr, and to MLflow unless the experiment says otherwise, as from the command line.

    Args:
        experiment: the path of a TOML file, or what `load_experiment` read.
        table: latencies on the device where the model will run; the study's own where absent, measured where it has
            none.
        overrides: changes such as `"search.num_trials=8"`; of a path only.
        runs_dir: the folder that holds the studies, instead of the experiment's.
        address: of a Ray cluster; this machine where absent.
        listeners: told of everything, before the usual ones.

    Raises:
        StoppedError: Ctrl-C or SIGTERM ended it; `resume` goes on.
        SpvitError: the experiment, the table or the data is wrong, or whatever else ends a search early.
    """
    from search.inputs import check_search_inputs
    from search.searching import run_search

    config = _experiment(experiment, overrides, runs_dir)
    check_search_inputs(config)
    priced_by = _checked_table(config, may_measure=True) if table is None else table
    return Study(record=run_search(config, priced_by, address=address, listeners=listeners))


def resume(
    name: str,
    *,
    runs_dir: Path | str = RUNS,
    address: str | None = None,
    listeners: Sequence[StudyListener] = (),
) -> Study:
    """Goes on with a study that was stopped or interrupted, with its own experiment and latency table.

    Args:
        name: of the study.
        runs_dir: the folder that holds the studies.
        address: of a Ray cluster; this machine where absent.
        listeners: told of everything, before the usual ones.

    Raises:
        UsageError: there is no such study.
        SpvitError: whatever ends a search early; what finished before is kept.
    """
    from search.inputs import check_search_inputs
    from search.searching import run_search, stored_experiment

    study = load_study(name, runs_dir=runs_dir)
    config = stored_experiment(study.record, study.directory)
    check_search_inputs(config)
    table = _checked_table(config, may_measure=False)
    return Study(record=run_search(config, table, resume=True, address=address, listeners=listeners))


def _experiment(
    given: ExperimentConfig | Path | str, overrides: Sequence[str], runs_dir: Path | str | None
) -> ExperimentConfig:
    from search.data_classes import with_num_classes
    from search.experiment import load_experiment

    if isinstance(given, ExperimentConfig) and overrides:
        raise UsageError("overrides change a file that is read; give its path, or an experiment without overrides.")
    config = given if isinstance(given, ExperimentConfig) else load_experiment(Path(given), tuple(overrides))
    config = with_num_classes(config)
    directory = Path(runs_dir or config.study.directory).absolute()
    return config.model_copy(update={"study": config.study.model_copy(update={"directory": directory})})


def _checked_table(config: ExperimentConfig, *, may_measure: bool) -> LatencyTable:
    from search.drift_check import checked_table

    folder = config.study.directory / config.study.name
    checked = checked_table(config, folder, may_measure=may_measure, progress=log_progress)
    for note in checked.notes:
        logger.warning("%s", note)
    return checked.table
