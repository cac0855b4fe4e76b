"""Makes a table of a study: what `spvit-search record` writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.experiment import FILE_RELATIVE_PATHS
from search.recorded import RecordedStudy, RecordedTrial
from search.records import StudyRecord, TrialRecord
from search.searching import stored_experiment
from search.study import read_study
from search.study_report import experiment_toml, without_passwords
from search.table_files import table_file
from spvit.errors import UsageError
from spvit.schedule import TokenGeometry
from trainers.config import TrialConfig
from trainers.safe_folder import file_hash

DATA_SUFFIX = ".npz"


def record_study(folder: Path, output: Path) -> RecordedStudy:
    """The study in a folder as a table. Trials that were not trained to the end, and baselines, are left out.

    Args:
        folder: the study's; a driver may be running it.
        output: where the table will be; paths of the experiment become relative to its folder.

    Raises:
        UsageError: there is no such study, or nothing in it that can be recorded.
        LatencyTableError: the study's latency table is gone or damaged.
        StorageError: the study cannot be read.
    """
    study = read_study(folder)
    trials = recordable(study)
    experiment = stored_experiment(study, folder)
    table = LatencyTable.load(table_file(experiment.latency.table, folder))
    return RecordedStudy(
        trials=tuple(_recorded(trial, table.geometry, output.parent) for trial in trials),
        epochs=study.num_epochs,
        experiment=experiment_toml(_portable(without_passwords(study.experiment), output.parent)),
        geometry=table.geometry,
        dense_ms=study.dense_latency.mean_ms,
        provenance=_provenance(study, experiment, table, num_recorded=len(trials)),
    )


def recordable(study: StudyRecord) -> tuple[TrialRecord, ...]:
    """Trials that were proposed from the search space and trained to the end.

    Raises:
        UsageError: there are none, they were trained for different numbers of epochs, or from elastic weights.
    """
    if elastic := study.elastic:
        raise UsageError(
            f"study {study.name!r} has elastic trials (trial {elastic[0].number} is the first), from whose weights "
            f"schedules are trained further, but in a recorded study every trial is trained from the backbone; search "
            f'a study that is to be replayed with search.mode = "schedule"'
        )
    trials = tuple(trial for trial in study.finished if trial.params)
    if not trials:
        raise UsageError(
            f"study {study.name!r} has no trial yet that was trained to the end; record it when it has, and with "
            f"search.pruner = 'none' so that all are"
        )
    if other := next((trial for trial in trials if trial.num_epochs != study.num_epochs), None):
        raise UsageError(
            f"study {study.name!r} explores the number of epochs (trial {other.number} has {other.num_epochs}, the "
            f"experiment {study.num_epochs}), but in a recorded study all trials have the same; fix training.epochs"
        )
    return trials


def _recorded(trial: TrialRecord, geometry: TokenGeometry, folder: Path) -> RecordedTrial:
    pruning = TrialConfig.model_validate(trial.config).pruning
    plan = pruning.schedule.plan(geometry, pruning.package, pruning.selector)
    return RecordedTrial(
        number=trial.number,
        params=dict(trial.params),
        config=_portable(trial.config, folder),
        block_tokens=plan.block_tokens,
        latency=trial.latency,
        curve=trial.curve,
        epoch_s=_epoch_s(trial),
    )


def _epoch_s(trial: TrialRecord) -> tuple[float, ...]:
    """Seconds of each epoch; a share of the whole trial's where the study does not say."""
    if trial.epoch_s and all(seconds > 0 for seconds in trial.epoch_s):
        return trial.epoch_s
    whole_s = (trial.finished_at or 0.0) - (trial.started_at or 0.0)
    return (max(whole_s, 1e-3) / trial.num_epochs,) * trial.num_epochs


def _portable(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values with every path relative to a folder, as in an experiment file there, and without the studies' own."""
    result = deepcopy(dict(values))
    for table, key in FILE_RELATIVE_PATHS:
        section = result.get(table) or {}
        if section.get(key):
            section[key] = os.path.relpath(section[key], folder.absolute())
    for key in ("directory", "storage"):
        result.get("study", {}).pop(key, None)
    return result


def _provenance(
    study: StudyRecord, experiment: ExperimentConfig, table: LatencyTable, *, num_recorded: int
) -> dict[str, str]:
    known = {
        "study": study.name,
        "num_trials": str(len(study.trials)),
        "num_recorded": str(num_recorded),
        "spvit_search": _program_version(),
        **{name: study.versions[name] for name in sorted(study.versions)},
        "device": table.device.id,
        "latency_table_sha256": study.table_sha256 or table.sha256,
    }
    return known | {f"{path.name}_sha256": file_hash(path) for path in _inputs(experiment)}


def _inputs(experiment: ExperimentConfig) -> list[Path]:
    """The weights and the images, where they are files that are still there."""
    checkpoint = [experiment.model.checkpoint] if experiment.model.checkpoint else []
    images = sorted(experiment.data.path.glob(f"*{DATA_SUFFIX}"))
    return [path for path in [*checkpoint, *images] if path.is_file()]


def _program_version() -> str:
    try:
        return version("spvit-search")
    except PackageNotFoundError:
        return "unknown"
