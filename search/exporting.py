"""Where a trial is exported to, and with which table: what `export` and `run` have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.table import LatencyTable
from search.export import export
from search.export_report import ExportReport
from search.formats import ALL_FORMATS, ExportFormat
from search.records import StudyRecord, TrialRecord
from search.study_config import STUDY_NAME
from search.table_files import table_file
from spvit.errors import UsageError

if TYPE_CHECKING:
    from search.registration import Registration

Progress = Callable[[float, str], None]


def export_trial(
    study: StudyRecord,
    folder: Path,
    trial: TrialRecord,
    *,
    max_latency_ms: float | None = None,
    output: Path | None = None,
    force: bool = False,
    formats: Iterable[ExportFormat] = ALL_FORMATS,
    progress: Progress,
) -> ExportReport:
    """Exports a trial that was trained to the end, to a folder of its own in the study's where `output` is absent.

    Raises:
        UsageError: the folder exists and is not to be replaced.
        LatencyTableError: the study's table is missing or damaged.
        StorageError: the folder cannot be written.
    """
    destination = (output or folder / "export" / f"trial_{trial.number}").absolute()
    if not STUDY_NAME.fullmatch(destination.name):
        raise UsageError(f"--output: {destination.name!r} cannot be a folder's name here; use letters, digits, . _ -")
    return export(
        study,
        trial,
        destination,
        table=LatencyTable.load(table_path(study, folder)),
        max_latency_ms=max_latency_ms,
        force=force,
        formats=formats,
        progress=progress,
    )


def register(study: StudyRecord, report: ExportReport) -> Registration | None:
    """Registers an export where the study is tracked; None where it is not tracked at all."""
    from search.experiment import validate
    from search.registration import register_export

    tracking = validate(dict(study.experiment), source=f"study {study.name}").tracking
    return register_export(study, report, uri=tracking.uri) if tracking.enabled else None


def table_path(study: StudyRecord, folder: Path) -> Path:
    """Where the latency table of a study is."""
    given = study.experiment.get("latency", {}).get("table")
    return table_file(Path(given) if given else None, folder)
