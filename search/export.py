"""Takes a trial home: its model as a folder that loads by itself, evaluated and timed from that very folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.key import DType, Runtime
from search.certificate import DENSE, Certificate, Progress, Verdict, certify
from search.experiment import validate
from search.export_files import write_model
from search.export_report import EXPORTED, FIXED, ExportReport
from search.latency_config import LatencyConfig
from search.latency_options import TargetDevice
from search.model_card import model_card
from search.records import StudyRecord, TrialRecord
from search.selection import keep_rates
from search.summary import baseline_trial
from search.trial_model import load_dense_model, load_trial_model, trial_config
from spvit.errors import StorageError, UsageError

if TYPE_CHECKING:
    from latency_tables.device import DeviceFingerprint
    from latency_tables.table import LatencyTable


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What is exported, where to, and what it is compared with."""

    study: StudyRecord
    trial: TrialRecord
    destination: Path
    table: LatencyTable
    max_latency_ms: float


def export(
    study: StudyRecord,
    trial: TrialRecord,
    destination: Path,
    *,
    table: LatencyTable,
    max_latency_ms: float | None = None,
    force: bool = False,
    time_limit_s: float = 60.0,
    progress: Progress = lambda _share, _text: None,
) -> ExportReport:
    """Write a trial's model to a folder, whole or not at all.

    The folder holds `model.safetensors` and `config.json` (read by `spvit.load_exported`), `config.toml` (an
    experiment that fine-tunes this schedule again), `report.json`, `README.md` and a manifest with every file's hash.

    Args:
        study: the study.
        trial: one of its trials, trained to the end.
        destination: the folder to make.
        table: the latency table of the search.
        max_latency_ms: the budget to compare with; the study's own if absent.
        force: replace a folder that is already there.
        time_limit_s: bound on the timing.
        progress: told the finished share and what is being done.

    Raises:
        UsageError: the folder exists and is not to be replaced.
        CheckpointError: the trial's checkpoint is missing or damaged.
        StorageError: the folder cannot be written.
    """
    _check_free(destination, force=force)
    budget_ms = study.max_latency_ms if max_latency_ms is None else max_latency_ms
    job = _Job(study=study, trial=trial, destination=destination, table=table, max_latency_ms=budget_ms)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=destination.parent) as name:
            staging = Path(name)
            progress(0.0, f"writing the model of trial {trial.number}")
            write_model(study, trial, staging)
            report = _report(job, staging, _certify(study, trial, staging, time_limit_s, progress))
            (staging / "report.json").write_text(json.dumps(report.to_dict(), indent=2), encoding="utf-8")
            (staging / "README.md").write_text(model_card(report), encoding="utf-8")
            _publish(staging, destination)
    except OSError as error:
        raise StorageError(
            f"{destination}: the export cannot be written: {error.strerror or error}; free space or give --output"
        ) from error
    return report


def _check_free(destination: Path, *, force: bool) -> None:
    if not destination.exists() and not destination.is_symlink():
        return
    if not force:
        raise UsageError(f"{destination} exists already; give --force to replace it, or another --output")
    # Whatever --output names by mistake, only a former export may be deleted.
    if not (destination / "config.json").is_file() or destination.is_symlink():
        raise UsageError(
            f"{destination} exists and is no export, so --force does not replace it; give another --output"
        )


def _certify(
    study: StudyRecord, trial: TrialRecord, staging: Path, time_limit_s: float, progress: Progress
) -> dict[str, Certificate]:
    from spvit.exported import load_exported
    from trainers.preprocessing import preprocessing_of

    experiment = validate(dict(study.experiment), source=f"study {study.name}")
    dense, is_trained = load_dense_model(study)
    exported = load_exported(staging)
    models = {DENSE: dense, EXPORTED: exported}
    fixed = baseline_trial(study)
    if fixed is not None and fixed.number != trial.number:
        models[FIXED] = load_trial_model(study, fixed)
    return certify(
        models,
        trained=frozenset(models) - (frozenset() if is_trained else {DENSE}),
        data=trial_config(trial).data,
        preprocessing=preprocessing_of(exported.backbone),
        latency=experiment.latency,
        time_limit_s=time_limit_s,
        progress=progress,
    )


def _report(job: _Job, staging: Path, models: Mapping[str, Certificate]) -> ExportReport:
    from latency_tables.device import DeviceFingerprint
    from spvit.exported import load_exported, read_description

    latency = validate(dict(job.study.experiment), source=f"study {job.study.name}").latency
    here = DeviceFingerprint.detect(latency.device, runtime=latency.runtime)
    return ExportReport(
        study=job.study.name,
        trial=job.trial.number,
        directory=str(job.destination),
        models=dict(models),
        predicted=job.trial.latency,
        # The table's dense time is steadier than one measured now, beside whatever else is running.
        dense_ms=job.study.dense_latency.mean_ms,
        max_latency_ms=job.max_latency_ms,
        verdict=_verdict(job, models[EXPORTED], latency, here),
        searched_top1=job.trial.top1,
        keep_rates=keep_rates(job.trial),
        num_parameters=sum(p.numel() for p in load_exported(staging).parameters()),
        batch_size=latency.batch_size,
        num_threads=latency.num_threads,
        runtime=Runtime(latency.runtime),
        dtype=DType(latency.dtype),
        device=here.id,
        table_device=job.table.device.id,
        table_runtime=job.table.key.runtime,
        weights_sha256=str(read_description(staging)["weights_sha256"]),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_form=trial_config(job.trial).training.form,
    )


def _verdict(job: _Job, measured: Certificate, latency: LatencyConfig, here: DeviceFingerprint) -> Verdict:
    """Against the budget, if this is the device that the budget is for, and what runs models there ran them here."""
    is_elsewhere = latency.target is TargetDevice.OTHER_DEVICE or job.table.device.differences(here)
    if is_elsewhere or job.table.key.runtime != latency.runtime:
        return Verdict.NOT_ON_TARGET
    return measured.verdict(dense_ms=job.study.dense_latency.mean_ms, max_latency_ms=job.max_latency_ms)


def _publish(staging: Path, destination: Path) -> None:
    """Copy the files to their place with a manifest, and take the place of a former export only when all is there."""
    from trainers.safe_folder import remove_folder, write_folder

    files = sorted(path.name for path in staging.iterdir())
    new = destination.with_name(f"{destination.name}.new") if destination.exists() else destination
    shutil.rmtree(new, ignore_errors=True)
    write_folder(new, {name: _copier(staging / name) for name in files})
    if new != destination:
        remove_folder(destination)
        new.rename(destination)


def _copier(source: Path) -> Callable[[Path], None]:
    def copy(target: Path) -> None:
        shutil.copyfile(source, target)

    return copy
