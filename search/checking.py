"""Measures an exported folder anew and compares it with its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.certificate import DENSE, Progress, Verdict, check_runtime, time_side_by_side
from search.check_files import check_files
from search.check_report import CheckLine, CheckReport, changed_names, note, passed_if
from search.config import ExperimentConfig
from search.experiment import load_experiment
from search.export_files import EXPERIMENT
from search.export_hashes import code_sha256, environment
from search.format_certificate import PRUNED, FormatCertificate, FormatTiming, Subject, measure_formats
from search.format_checks import budget_line, format_lines
from search.formats import ExportFormat
from search.stored_certificate import StoredCertificate
from spvit.errors import CheckpointError, ConfigError, DataError
from trainers.config import DataConfig
from trainers.preprocessing import preprocessing_of

if TYPE_CHECKING:
    from spvit.pruned_model import PrunedModel

DATA = "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRequest:
    """What is checked. `data` is where the validation images are now, if not where the export's experiment says."""

    folder: Path
    data: Path | None = None
    max_latency_ms: float | None = None
    time_limit_s: float = 60.0


def check_export(request: CheckRequest, progress: Progress = lambda _share, _text: None) -> CheckReport:
    """Run every file of an export again, and say of each promise whether it holds here and now.

    A file that is not the one that was exported is never run.

    Raises:
        CheckpointError: the folder is no export.
    """
    stored = StoredCertificate.read(request.folder)
    progress(0.0, "comparing files with their hashes")
    files = check_files(request.folder, stored)
    lines = [*files.lines, *_surroundings(stored)]
    if files.may_be_run:
        lines += _measured_lines(request, stored, files.formats, progress)
    return CheckReport(directory=str(request.folder), lines=tuple(lines))


def _surroundings(stored: StoredCertificate) -> Iterator[CheckLine]:
    """What may be different where a model is checked, and explains what is."""
    changes = changed_names(dict(stored.environment), environment())
    yield note("environment", f"changed: {', '.join(changes)}" if changes else "as it was exported with")
    is_same = stored.code_sha256 == code_sha256()
    yield note("code", "as it was exported with" if is_same else "another version than it was exported with")


def _measured_lines(
    request: CheckRequest, stored: StoredCertificate, formats: tuple[ExportFormat, ...], progress: Progress
) -> Iterator[CheckLine]:
    try:
        experiment = _experiment(request)
        measured, data_sha256 = _measure(request, experiment, formats, progress)
    except (CheckpointError, ConfigError, DataError) as error:
        yield passed_if("running", holds=False, text=str(error))
        return
    yield _data_line(stored, data_sha256)
    is_here = _device_id(experiment) == stored.device
    yield note("device", "the one it was exported on" if is_here else f"another one than {stored.device}")
    for certificate in measured:
        promised = next(known for known in stored.formats if known.format is certificate.format)
        yield from format_lines(certificate, promised, is_here=is_here)
        yield _budget(request, stored, certificate, is_here=is_here)


def _experiment(request: CheckRequest) -> ExperimentConfig:
    experiment = load_experiment(request.folder / EXPERIMENT)
    if request.data is None:
        return experiment
    data: DataConfig = experiment.data.model_copy(update={"path": request.data.absolute()})
    return experiment.model_copy(update={"data": data})


def _measure(
    request: CheckRequest, experiment: ExperimentConfig, formats: tuple[ExportFormat, ...], progress: Progress
) -> tuple[tuple[FormatCertificate, ...], str]:
    from spvit.exported import load_exported

    check_runtime(experiment.latency)
    model = load_exported(request.folder).requires_grad_(requires_grad=False)
    subject = Subject(
        folder=request.folder,
        formats=formats,
        model=model,
        trained=model,
        dense=model.backbone,
        preprocessing=preprocessing_of(model.backbone),
        data=experiment.data,
        latency=experiment.latency,
        time_native=lambda: _time_native(model, experiment, request.time_limit_s),
        time_limit_s=request.time_limit_s,
    )
    return measure_formats(subject, progress)


def _time_native(model: PrunedModel, experiment: ExperimentConfig, time_limit_s: float) -> FormatTiming:
    timed = time_side_by_side(
        {DENSE: model.backbone, PRUNED: model},
        preprocessing_of(model.backbone),
        experiment.latency,
        time_limit_s=time_limit_s,
    )
    return FormatTiming.of(timed)


def _data_line(stored: StoredCertificate, data_sha256: str) -> CheckLine:
    is_same = stored.data_sha256 == data_sha256
    other = "other images, labels or preparation (another version of pillow or torchvision?) than those of the export"
    return passed_if(DATA, holds=is_same, text="the validation split of the export" if is_same else other)


def _device_id(experiment: ExperimentConfig) -> str:
    from latency_tables.device import DeviceFingerprint

    return DeviceFingerprint.detect(experiment.latency.device, runtime=experiment.latency.runtime).id


def _budget(
    request: CheckRequest, stored: StoredCertificate, certificate: FormatCertificate, *, is_here: bool
) -> CheckLine:
    """A budget of the user's own counts wherever it is asked for; the study's on the device that it is for alone."""
    is_target = is_here and stored.verdict is not Verdict.NOT_ON_TARGET and certificate.ran_on == stored.ran_on
    if request.max_latency_ms is not None:
        return budget_line(certificate, request.max_latency_ms, dense_ms=None, is_target=True)
    return budget_line(certificate, stored.max_latency_ms, dense_ms=stored.dense_ms, is_target=is_target)
