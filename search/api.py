"""A search from Python: what `spvit-search launch`, `resume` and `finish` do."""

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
    accept_change: bool = False,
    takeover: bool = False,
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
        accept_change: go on, as a new generation, with a study that was made from something else.
        takeover: go on although another driver holds the study; what that one writes is refused from then on.

    Raises:
        StoppedError: Ctrl-C or SIGTERM ended it; `resume` goes on.
        StudyMismatchError: the study was made from something else; the difference is named.
        SpvitError: the experiment, the table or the data is wrong, or whatever else ends a search early.
    """
    from search.inputs import check_search_inputs
    from search.searching import run_search
    from search.study_opening import OpeningTerms

    config = _experiment(experiment, overrides, runs_dir)
    check_search_inputs(config)
    priced_by = _checked_table(config, may_measure=True) if table is None else table
    terms = OpeningTerms(accept_change=accept_change, takeover=takeover)
    return Study(record=run_search(config, priced_by, address=address, listeners=listeners, terms=terms))


def resume(
    name: str,
    *,
    runs_dir: Path | str = RUNS,
    address: str | None = None,
    listeners: Sequence[StudyListener] = (),
    accept_change: bool = False,
    takeover: bool = False,
) -> Study:
    """Goes on with a study that was stopped or interrupted, with its own experiment and latency table.

    Args:
        name: of the study.
        runs_dir: the folder that holds the studies.
        address: of a Ray cluster; this machine where absent.
        listeners: told of everything, before the usual ones.
        accept_change: go on, as a new generation, with a study that was made from something else.
        takeover: go on although another driver holds the study; what that one writes is refused from then on.

    Raises:
        UsageError: there is no such study.
        SpvitError: whatever ends a search early; what finished before is kept.
    """
    from search.inputs import check_search_inputs
    from search.searching import run_search, stored_experiment
    from search.study_opening import OpeningTerms

    study = load_study(name, runs_dir=runs_dir)
    config = stored_experiment(study.record, study.directory)
    check_search_inputs(config)
    table = _checked_table(config, may_measure=False)
    terms = OpeningTerms(accept_change=accept_change, takeover=takeover)
    return Study(record=run_search(config, table, resume=True, address=address, listeners=listeners, terms=terms))


def finish(
    name: str,
    *,
    epochs: int,
    trials: Sequence[int] = (),
    max_latency_ms: float | None = None,
    top: int = 1,
    evaluate: bool = False,
    runs_dir: Path | str = RUNS,
    address: str | None = None,
    listeners: Sequence[StudyListener] = (),
    accept_change: bool = False,
    takeover: bool = False,
) -> Study:
    """Trains trials of a study on from their checkpoints, with its workers; each becomes a trial of its own.

    Args:
        name: of the study.
        epochs: what they are trained to, in all.
        trials: by their numbers; where none is named, what `Study.choose` takes.
        max_latency_ms: what they are chosen within; the study's budget where absent.
        top: how many are chosen.
        evaluate: as of `Study.choose`.
        runs_dir: the folder that holds the studies.
        address: of a Ray cluster; this machine where absent.
        listeners: told of everything, before the usual ones.
        accept_change: go on, as a new generation, with a study that was made from something else.
        takeover: go on although another driver holds the study; what that one writes is refused from then on.

    Raises:
        UsageError: there is no such study or trial, or it was trained for so many epochs already.
        NothingFeasibleError: no finished trial is within the latency.
        SpvitError: whatever ends it early; what finished before is kept, and another call goes on.
    """
    from search.answers import by_answers
    from search.finish_run import run_finish
    from search.finishing import choices_to_finish
    from search.inputs import check_search_inputs
    from search.priced_candidates import with_priced
    from search.searching import stored_experiment
    from search.study_opening import OpeningTerms

    study = load_study(name, runs_dir=runs_dir)
    compare = by_answers(study.record, log_progress if evaluate else None)
    config = stored_experiment(study.record, study.directory)
    known = study.record
    if not trials:
        known = with_priced(known, config, epochs=epochs, max_latency_ms=max_latency_ms)
    choices = choices_to_finish(known, compare, epochs=epochs, numbers=trials, max_latency_ms=max_latency_ms, top=top)
    check_search_inputs(config)
    table = _checked_table(config, may_measure=False)
    chosen = tuple(choice.trial for choice in choices)
    terms = OpeningTerms(accept_change=accept_change, takeover=takeover)
    run_finish(config, table, chosen=chosen, epochs=epochs, address=address, listeners=listeners, terms=terms)
    return study.reload()


def _experiment(
    given: ExperimentConfig | Path | str, overrides: Sequence[str], runs_dir: Path | str | None
) -> ExperimentConfig:
    from search.complete_experiment import complete_experiment
    from search.experiment import load_experiment

    if isinstance(given, ExperimentConfig) and overrides:
        raise UsageError("overrides change a file that is read; give its path, or an experiment without overrides.")
    config = given if isinstance(given, ExperimentConfig) else load_experiment(Path(given), tuple(overrides))
    return complete_experiment(config, None if runs_dir is None else Path(runs_dir))


def _checked_table(config: ExperimentConfig, *, may_measure: bool) -> LatencyTable:
    from search.drift_check import checked_table

    folder = config.study.directory / config.study.name
    checked = checked_table(config, folder, may_measure=may_measure, progress=log_progress)
    for note in checked.notes:
        logger.warning("%s", note)
    return checked.table
