"""The files that `retarget` leaves: a report like a study's own, both latencies of every trial, further experiments."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

from search.config import ExperimentConfig
from search.elastic_search_config import SearchMode
from search.further import FurtherTrial
from search.given_start import GivenStart
from search.records import StudyRecord, TrialRecord, TrialState
from search.retarget import Retargeted
from search.retargeting import DeviceReport
from search.study_report import write_study_files
from spvit.errors import StorageError, UsageError

COLUMNS = (
    *("number", "label", "top1", "study_latency_ms", "latency_ms", "latency_low_ms", "latency_high_ms"),
    *("speed_up", "front", "keep_rates"),
)
FROM_ELASTIC = "from_elastic.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The files that were written; those among them that train a further trial each, or search from elastic weights."""

    files: tuple[Path, ...] = ()
    further: tuple[Path, ...] = ()
    searches: tuple[Path, ...] = ()

    @property
    def commands(self) -> tuple[str, ...]:
        """The command line that trains each further trial, and that of each search."""
        trials = (f"spvit-search fine-tune {path}" for path in self.further)
        return (*trials, *(f"spvit-search launch {path}" for path in self.searches))


def check_output(folder: Path) -> None:
    """Refuses a folder in which files of another call could be taken for this one's.

    Raises:
        UsageError: it is a file, or not empty.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"--output: {folder} exists and is no empty folder; give a new one")


def write_retargeted(reports: Sequence[DeviceReport], folder: Path) -> Written:
    """Write what was found to a folder; for several devices to `a`, `b`, ... in it.

    Raises:
        StorageError: the folder cannot be written.
    """
    folders = [folder] if len(reports) == 1 else [folder / letter for letter in ascii_lowercase[: len(reports)]]
    try:
        written = [_write(report, place) for report, place in zip(reports, folders, strict=True)]
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written: {error.strerror or error}; free space or give another --output"
        ) from error
    return Written(
        files=tuple(path for one in written for path in one.files),
        further=tuple(path for one in written for path in one.further),
        searches=tuple(path for one in written for path in one.searches),
    )


def further_experiment(study: StudyRecord, number: int, further: FurtherTrial) -> ExperimentConfig:
    """An experiment that trains one further trial, from elastic weights if that one would be, and explores nothing.

    Args:
        study: as it is on the device.
        number: of the further trial, from 1.
        further: the trial.
    """
    from search.export_files import fixed_experiment

    trial = TrialRecord(
        number=number,
        state=TrialState.WAITING,
        params=further.proposal.params,
        config=further.proposal.config.to_dict(),
        latency=further.proposal.latency,
        keep_counts=(),
        blocks=(),
    )
    experiment = _named(fixed_experiment(study, trial), f"{study.name[:80]}-further-{number}")
    start = further.proposal.config.start
    if start is None:
        return experiment
    search = experiment.search.model_copy(update={"mode": SearchMode.SCHEDULE})
    return _reaching_a_file(experiment.model_copy(update={"start": GivenStart.of(start), "search": search}))


def _named(experiment: ExperimentConfig, name: str) -> ExperimentConfig:
    return experiment.model_copy(update={"study": experiment.study.model_copy(update={"name": name})})


def _reaching_a_file(experiment: ExperimentConfig) -> ExperimentConfig:
    """Without `study.checkpoints`, which is for machines that share no folder."""
    return experiment.model_copy(update={"study": experiment.study.model_copy(update={"checkpoints": None})})


def _write(report: DeviceReport, folder: Path) -> Written:
    from search.export_files import write_experiment

    study = report.result.after
    files = write_study_files(study, folder)
    table = folder / "retarget.csv"
    _write_trials(report.result, table)
    further = [folder / f"further_{number}.toml" for number in range(1, len(report.further.trials) + 1)]
    for number, (path, trial) in enumerate(zip(further, report.further.trials, strict=True), start=1):
        write_experiment(further_experiment(study, number, trial), path)
    if report.from_elastic is None:
        return Written(files=(*files, table, *further), further=tuple(further))
    search = folder / FROM_ELASTIC
    write_experiment(_reaching_a_file(_named(report.from_elastic, f"{study.name[:80]}-from-elastic")), search)
    return Written(files=(*files, table, *further, search), further=tuple(further), searches=(search,))


def _write_trials(result: Retargeted, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for trial in result.moved:
            new, rates = trial.new, " ".join(f"{rate:.6g}" for rate in trial.keep_rates)
            row = (trial.number, trial.label, trial.top1, trial.old.mean_ms, new.mean_ms, new.low_ms, new.high_ms)
            writer.writerow((*row, trial.speed_up, str(trial.place), rates))
