"""Takes elastic weights home: one model with several schedules, each evaluated and timed from the written folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.device import DeviceFingerprint
from latency_tables.table import LatencyTable
from search.certificate import DENSE, Certificate, Progress, certify, check_runtime
from search.experiment import validate
from search.export import check_free, publish, staging_folder
from search.export_files import write_weights
from search.export_report import CERTIFICATE
from search.latency_config import LatencyConfig
from search.records import StudyRecord, TrialRecord, TrialState
from search.selection import find_trial
from search.trial_model import load_dense_model, trial_config
from spvit.errors import StorageError, UsageError
from spvit.exported_schedules import ExportedSchedule
from trainers.metrics import PricedSchedule


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticExport:
    """What was written, and what each schedule was certified with, the fastest first."""

    study: str
    trial: int
    directory: str
    device: str
    batch_size: int
    table_sha256: str
    schedules: tuple[ExportedSchedule, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """A line for each schedule."""
        rows = [
            f"  {each.val_top1:6.2f} %   up to {each.high_ms:8.3f} ms   keep rates "
            + ", ".join(f"{rate:.3g}" for rate in each.keep_rates)
            for each in self.schedules
        ]
        return "\n".join(
            [
                f"elastic trial {self.trial} of {self.study}, {len(rows)} schedules",
                f"measured on {self.device}, one batch of {self.batch_size} images",
                *rows,
                f"load it    spvit.load({self.directory!r}, max_latency_ms={self.schedules[-1].high_ms:.3g})",
            ]
        )


def export_elastic(
    study: StudyRecord,
    destination: Path,
    *,
    table: LatencyTable,
    num_schedules: int,
    number: int | None = None,
    force: bool = False,
    time_limit_s: float = 60.0,
    progress: Progress = lambda _share, _text: None,
) -> ElasticExport:
    """Write an elastic trial's weights to a folder, with the best schedules that it found over the latencies.

    Args:
        study: the study.
        destination: the folder to make.
        table: the latency table of the search.
        num_schedules: at most so many.
        number: of the elastic trial; the one of the best front if absent.
        force: replace an export that is there.
        time_limit_s: bound on the timing.
        progress: told the finished share and what is being done.

    Raises:
        UsageError: there is no such elastic trial, or the folder exists and is not to be replaced.
        CheckpointError, DataError, ConfigError: what their names say.
        StorageError: the folder cannot be written.
    """
    trial = elastic_trial_of(study, number)
    check_free(destination, force=force)
    latency = _latency(study)
    check_runtime(latency)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with staging_folder(destination) as staging:
            report = ElasticExport(
                study=study.name,
                trial=trial.number,
                directory=str(destination),
                device=DeviceFingerprint.detect(latency.device, runtime=latency.runtime).id,
                batch_size=latency.batch_size,
                table_sha256=table.sha256,
                schedules=_written(study, trial, staging, num_schedules, time_limit_s=time_limit_s, progress=progress),
            )
            (staging / CERTIFICATE).write_text(json.dumps(report.to_dict(), indent=2), encoding="utf-8")
            (staging / "README.md").write_text(f"# {study.name}\n\n{report.to_text()}\n", encoding="utf-8")
            publish(staging, destination)
    except OSError as error:
        raise StorageError(
            f"{destination}: the export cannot be written: {error.strerror or error}; free space or give --output"
        ) from error
    return report


def elastic_trial_of(study: StudyRecord, number: int | None = None) -> TrialRecord:
    """The elastic trial of this number, or the one of the best front.

    Raises:
        UsageError: there is none that was trained to the end.
    """
    complete = [trial for trial in study.elastic if trial.state is TrialState.COMPLETE and trial.priced]
    if not complete:
        raise UsageError(
            f"study {study.name!r} has no elastic trial that was trained to the end: search with --set "
            "search.mode=auto, or export a single schedule without --schedules"
        )
    if number is None:
        return max(complete, key=lambda trial: (trial.top1 or 0.0, -trial.number))
    if find_trial(study, number) not in complete:
        known = ", ".join(str(trial.number) for trial in complete)
        raise UsageError(
            f"trial {number} of study {study.name!r} is no elastic one, trained to the end; those: {known}"
        )
    return find_trial(study, number)


def spread_over(priced: Sequence[PricedSchedule], num: int) -> tuple[PricedSchedule, ...]:
    """The most accurate schedule up to each of `num` evenly spaced latencies, the fastest first, none twice."""
    known = [each for each in priced if each.top1 is not None]
    edges = np.linspace(min(each.cost for each in known), max(each.cost for each in known), num)
    best = [
        max((each for each in known if each.cost <= edge), key=lambda each: (each.top1 or 0.0, -each.cost))
        for edge in edges.tolist()
    ]
    return tuple(dict.fromkeys(best))


def _written(
    study: StudyRecord, trial: TrialRecord, staging: Path, num: int, *, time_limit_s: float, progress: Progress
) -> tuple[ExportedSchedule, ...]:
    """The schedules as they were measured with the weights that were written, and are written with them."""
    chosen = spread_over(trial.priced, num)
    write_weights(study, trial, staging)
    measured = _measure(study, trial, staging, chosen, time_limit_s=time_limit_s, progress=progress)
    certified = tuple(_certified(each, measured[str(n)], study) for n, each in enumerate(chosen))
    write_weights(study, trial, staging, schedules=certified)
    return certified


def _measure(
    study: StudyRecord,
    trial: TrialRecord,
    staging: Path,
    chosen: Sequence[PricedSchedule],
    *,
    time_limit_s: float,
    progress: Progress,
) -> Mapping[str, Certificate]:
    from spvit.exported import load_exported
    from trainers.preprocessing import preprocessing_of

    model = load_exported(staging)
    dense, _ = load_dense_model(study)
    models = {str(number): model.at(each.schedule) for number, each in enumerate(chosen)}
    return certify(
        {DENSE: dense, **models},
        trained=frozenset(models),
        data=trial_config(trial).data,
        preprocessing=preprocessing_of(model.backbone),
        latency=_latency(study),
        time_limit_s=time_limit_s,
        progress=progress,
    )


def _certified(priced: PricedSchedule, measured: Certificate, study: StudyRecord) -> ExportedSchedule:
    """Of both measurements the worse counts: beside the dense model on the table's scale, and on the wall."""
    by_ratio_ms = measured.ratio_high * study.dense_latency.mean_ms
    return ExportedSchedule(
        blocks=priced.schedule.blocks,
        keep_rates=priced.schedule.keep_rates,
        val_top1=measured.val_top1 or 0.0,
        high_ms=by_ratio_ms if measured.elapsed is None else max(by_ratio_ms, measured.elapsed.high_ms),
    )


def _latency(study: StudyRecord) -> LatencyConfig:
    return validate(dict(study.experiment), source=f"study {study.name}").latency
