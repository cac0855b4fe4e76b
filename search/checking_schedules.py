"""Measures an export of several schedules anew, one after the other, and compares them with its certificate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from search.certificate import Progress
from search.check_files import check_files
from search.check_report import CheckLine, CheckReport, passed_if
from search.check_request import CheckRequest, checked_experiment, data_line, device_id, device_line, surroundings
from search.config import ExperimentConfig
from search.schedule_certificate import ScheduleCertificate, SeveralSchedules, measure_schedules
from search.schedule_checks import chosen_line, schedule_lines
from search.stored_schedules import StoredSchedules
from spvit.errors import CheckpointError, ConfigError, DataError, SpvitError
from spvit.exported_schedules import SCHEDULES, schedules_in


def check_schedules(request: CheckRequest, progress: Progress = lambda _share, _text: None) -> CheckReport:
    """Run every schedule of an export again, and say of each promise whether it holds here and now.

    Weights that are not those that were exported are never run.

    Raises:
        CheckpointError: the certificate is damaged.
    """
    stored = StoredSchedules.read(request.folder)
    progress(0.0, "comparing files with their hashes")
    files = check_files(request.folder, stored.file_sha256)
    lines = [*files.lines, _schedules_line(request.folder, stored), *surroundings(stored)]
    if files.may_be_run:
        lines += _measured_lines(request, stored, progress)
    return CheckReport(directory=str(request.folder), lines=tuple(lines))


def _schedules_line(folder: Path, stored: StoredSchedules) -> CheckLine:
    """What `spvit.load` chooses by is what was certified."""
    from spvit.exported import DESCRIPTION, read_description

    try:
        described = schedules_in(read_description(folder))
    except SpvitError as error:
        return passed_if(SCHEDULES, holds=False, text=str(error))
    is_same = described == tuple(each.exported(stored.dense_ms) for each in stored.schedules)
    text = f"{len(described)}, as certified" if is_same else f"those in {DESCRIPTION} are not those of the certificate"
    return passed_if(SCHEDULES, holds=is_same, text=text)


def _measured_lines(request: CheckRequest, stored: StoredSchedules, progress: Progress) -> Iterator[CheckLine]:
    try:
        experiment = checked_experiment(request)
        measured, data_sha256 = _measure(request, stored, experiment, progress)
    except (CheckpointError, ConfigError, DataError) as error:
        yield passed_if("running", holds=False, text=str(error))
        return
    yield data_line(stored.data_sha256, data_sha256)
    is_here = device_id(experiment) == stored.device
    yield device_line(stored.device, is_here=is_here)
    for number, (own, promised) in enumerate(zip(measured, stored.schedules, strict=True)):
        yield from schedule_lines(number, own, promised, dense_ms=stored.dense_ms, is_here=is_here)
    if request.max_latency_ms is not None:
        yield chosen_line(request.max_latency_ms, measured, stored.schedules, dense_ms=stored.dense_ms)


def _measure(
    request: CheckRequest, stored: StoredSchedules, experiment: ExperimentConfig, progress: Progress
) -> tuple[Sequence[ScheduleCertificate], str]:
    from spvit.exported import load_exported

    model = load_exported(request.folder).requires_grad_(requires_grad=False)
    subject = SeveralSchedules(
        model=model,
        schedules=[each.exported(stored.dense_ms).schedule for each in stored.schedules],
        dense=model.backbone,
        data=experiment.data,
        latency=experiment.latency,
        time_limit_s=request.time_limit_s,
    )
    return measure_schedules(subject, progress)
