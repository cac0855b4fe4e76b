"""Takes a trial home: its model as a folder that loads by itself, evaluated and timed from that very folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.key import DType, Runtime
from search.certificate import Certificate, Progress, Verdict, check_runtime
from search.export_files import write_model
from search.export_hashes import code_sha256, environment, file_hashes
from search.export_measure import ExportJob, Measured, measure_export
from search.export_report import CERTIFICATE, EXPORTED, ExportReport
from search.formats import ALL_FORMATS, ExportFormat, check_formats
from search.latency_config import LatencyConfig
from search.latency_options import TargetDevice
from search.model_card import model_card
from search.records import StudyRecord, TrialRecord
from search.selection import keep_rates
from search.trial_model import trial_config
from spvit.errors import StorageError, UsageError

if TYPE_CHECKING:
    from latency_tables.device import DeviceFingerprint
    from latency_tables.table import LatencyTable


def export(
    study: StudyRecord,
    trial: TrialRecord,
    destination: Path,
    *,
    table: LatencyTable,
    max_latency_ms: float | None = None,
    force: bool = False,
    formats: Iterable[ExportFormat] = ALL_FORMATS,
    time_limit_s: float = 60.0,
    progress: Progress = lambda _share, _text: None,
) -> ExportReport:
    """Write a trial's model to a folder, whole or not at all.

    The folder holds `model.safetensors` and `config.json` (read by `spvit.load`, and by timm as "local-dir:FOLDER"),
    `model.onnx` and `model.pt2` (which run without this package), `labels.txt`, `config.toml` (an experiment that
    fine-tunes this schedule again), `certificate.json`, `README.md` and a manifest with every file's hash.

    Args:
        study: the study.
        trial: one of its trials, trained to the end.
        destination: the folder to make.
        table: the latency table of the search.
        max_latency_ms: the budget to compare with; the study's own if absent.
        force: replace a folder that is already there.
        formats: what to write beside the weights.
        time_limit_s: bound on the timing.
        progress: told the finished share and what is being done.

    Raises:
        UsageError: the folder exists and is not to be replaced.
        ConfigError: a package for one of the formats or for the study's runtime is missing, or the model has no such
            format.
        CheckpointError: the trial's checkpoint is missing or damaged.
        StorageError: the folder cannot be written.
    """
    check_free(destination, force=force)
    job = ExportJob(
        study=study,
        trial=trial,
        destination=destination,
        table=table,
        max_latency_ms=study.max_latency_ms if max_latency_ms is None else max_latency_ms,
        formats=tuple(dict.fromkeys((ExportFormat.SAFETENSORS, *formats))),
        time_limit_s=time_limit_s,
        progress=progress,
    )
    check_formats(job.formats)
    check_runtime(job.latency)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with staging_folder(destination) as staging:
            report = _export_to(staging, job)
            publish(staging, destination)
    except OSError as error:
        raise StorageError(
            f"{destination}: the export cannot be written: {error.strerror or error}; free space or give --output"
        ) from error
    return report


def _export_to(staging: Path, job: ExportJob) -> ExportReport:
    job.progress(0.0, f"writing the model of trial {job.trial.number}")
    write_model(job.study, job.trial, staging)
    report = _report(job, staging, measure_export(job, staging))
    (staging / CERTIFICATE).write_text(json.dumps(report.to_dict(), indent=2), encoding="utf-8")
    (staging / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


def check_free(destination: Path, *, force: bool) -> None:
    """Refuse a folder that is not to be replaced.

    Raises:
        UsageError: it exists, and is not to be replaced or is no export.
    """
    if not destination.exists() and not destination.is_symlink():
        return
    if not force:
        raise UsageError(f"{destination} exists already; give --force to replace it, or another --output")
    # Whatever --output names by mistake, only a former export may be deleted.
    if not (destination / "config.json").is_file() or destination.is_symlink():
        raise UsageError(
            f"{destination} exists and is no export, so --force does not replace it; give another --output"
        )


def _report(job: ExportJob, staging: Path, measured: Measured) -> ExportReport:
    from latency_tables.device import DeviceFingerprint

    latency = job.latency
    here = DeviceFingerprint.detect(latency.device, runtime=latency.runtime)
    hashes = file_hashes(staging)
    return ExportReport(
        study=job.study.name,
        trial=job.trial.number,
        directory=str(job.destination),
        models=measured.models,
        predicted=job.trial.latency,
        # The table's dense time is steadier than one measured now, beside whatever else is running.
        dense_ms=job.study.dense_latency.mean_ms,
        max_latency_ms=job.max_latency_ms,
        verdict=_verdict(job, measured.models[EXPORTED], latency, here),
        searched_top1=job.trial.top1,
        keep_rates=keep_rates(job.trial),
        num_parameters=measured.num_parameters,
        batch_size=latency.batch_size,
        num_threads=latency.num_threads,
        runtime=Runtime(latency.runtime),
        dtype=DType(latency.dtype),
        device=here.id,
        table_device=job.table.device.id,
        table_runtime=job.table.key.runtime,
        weights_sha256=hashes[ExportFormat.SAFETENSORS.file],
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_form=trial_config(job.trial).training.form,
        formats=measured.formats,
        file_sha256=hashes,
        data_sha256=measured.data_sha256,
        code_sha256=code_sha256(),
        table_sha256=job.table.sha256,
        environment=environment(),
    )


def _verdict(job: ExportJob, measured: Certificate, latency: LatencyConfig, here: DeviceFingerprint) -> Verdict:
    """Against the budget, if this is the device that the budget is for, and what runs models there ran them here."""
    is_elsewhere = latency.target is TargetDevice.OTHER_DEVICE or job.table.device.differences(here)
    if is_elsewhere or job.table.key.runtime != latency.runtime:
        return Verdict.NOT_ON_TARGET
    return measured.verdict(dense_ms=job.study.dense_latency.mean_ms, max_latency_ms=job.max_latency_ms)


def publish(staging: Path, destination: Path) -> None:
    """Copy the files to their place with a manifest, and take the place of a former export only when all is there."""
    from trainers.safe_folder import replace_folder, write_folder

    files = sorted(path.name for path in staging.iterdir())
    new = destination.with_name(f"{destination.name}.new") if destination.exists() else destination
    shutil.rmtree(new, ignore_errors=True)
    write_folder(new, {name: _copier(staging / name) for name in files})
    if new != destination:
        replace_folder(destination, new)


@contextmanager
def staging_folder(destination: Path) -> Iterator[Path]:
    """Where files are made first. Its name is always the same, so that what a killed export left is replaced."""
    staging = destination.with_name(f".export-{destination.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copier(source: Path) -> Callable[[Path], None]:
    def copy(target: Path) -> None:
        shutil.copyfile(source, target)

    return copy
