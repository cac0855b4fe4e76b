"""Measures an exported folder anew and compares it with its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from search.certificate import DENSE, Progress, Verdict, check_runtime, time_side_by_side
from search.check_files import check_files
from search.check_report import CheckLine, CheckReport, passed_if
from search.check_request import CheckRequest, checked_experiment, data_line, device_id, device_line, surroundings
from search.checking_schedules import check_schedules
from search.config import ExperimentConfig
from search.format_certificate import PRUNED, FormatCertificate, FormatTiming, Subject, measure_formats
from search.format_checks import budget_line, format_lines
from search.formats import ExportFormat
from search.stored_certificate import StoredCertificate
from search.stored_schedules import holds_schedules
from spvit.errors import CheckpointError, ConfigError, DataError
from trainers.preprocessing import preprocessing_of

if TYPE_CHECKING:
    from spvit.pruned_model import PrunedModel


def check_export(request: CheckRequest, progress: Progress = lambda _share, _text: None) -> CheckReport:
    """Run every file of an export again, or every schedule, and say of each promise whether it holds here and now.

    A file that is not the one that was exported is never run.

    Raises:
        CheckpointError: the folder is no export.
    """
    if holds_schedules(request.folder):
        return check_schedules(request, progress)
    stored = StoredCertificate.read(request.folder)
    progress(0.0, "comparing files with their hashes")
    files = check_files(request.folder, stored.file_sha256, {known.format for known in stored.formats})
    lines = [*files.lines, *surroundings(stored)]
    if files.may_be_run:
        lines += _measured_lines(request, stored, files.formats, progress)
    return CheckReport(directory=str(request.folder), lines=tuple(lines))


def _measured_lines(
    request: CheckRequest, stored: StoredCertificate, formats: tuple[ExportFormat, ...], progress: Progress
) -> Iterator[CheckLine]:
    try:
        experiment = checked_experiment(request)
        measured, data_sha256 = _measure(request, experiment, formats, progress)
    except (CheckpointError, ConfigError, DataError) as error:
        yield passed_if("running", holds=False, text=str(error))
        return
    yield data_line(stored.data_sha256, data_sha256)
    is_here = device_id(experiment) == stored.device
    yield device_line(stored.device, is_here=is_here)
    for certificate in measured:
        promised = next(known for known in stored.formats if known.format is certificate.format)
        yield from format_lines(certificate, promised, is_here=is_here)
        yield _budget(request, stored, certificate, is_here=is_here)


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


def _budget(
    request: CheckRequest, stored: StoredCertificate, certificate: FormatCertificate, *, is_here: bool
) -> CheckLine:
    """A budget of the user's own counts wherever it is asked for; the study's on the device that it is for alone."""
    is_target = is_here and stored.verdict is not Verdict.NOT_ON_TARGET and certificate.ran_on == stored.ran_on
    if request.max_latency_ms is not None:
        return budget_line(certificate, request.max_latency_ms, dense_ms=None, is_target=True)
    return budget_line(certificate, stored.max_latency_ms, dense_ms=stored.dense_ms, is_target=is_target)
