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
from search.certificate import Progress, check_runtime
from search.elastic_front import best_elastic, complete_elastic
from search.experiment import validate
from search.export import check_free, publish, staging_folder
from search.export_files import EXPERIMENT, elastic_experiment, write_experiment, write_weights
from search.export_hashes import code_sha256, environment, file_hashes
from search.export_report import CERTIFICATE, FORMAT
from search.latency_config import LatencyConfig
from search.records import StudyRecord, TrialRecord
from search.schedule_certificate import ScheduleCertificate, SeveralSchedules, measure_schedules
from search.selection import find_trial
from search.trial_model import load_dense_model, trial_config
from spvit.errors import StorageError, UsageError
from spvit.exported_schedules import SCHEDULES, ExportedSchedule
from trainers.metrics import PricedSchedule


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticExport:
    """What was written, and what each schedule was certified with, the fastest first.

    `dense_ms` is the dense model's time by the latency table, on whose scale schedules are as fast as they promise.
    """

    study: str
    trial: int
    directory: str
    device: str
    batch_size: int
    table_sha256: str
    dense_ms: float
    certificates: tuple[ScheduleCertificate, ...]
    file_sha256: Mapping[str, str]
    data_sha256: str
    code_sha256: str
    environment: Mapping[str, str]

    @property
    def schedules(self) -> tuple[ExportedSchedule, ...]:
        """As they are written beside the weights."""
        return tuple(each.exported(self.dense_ms) for each in self.certificates)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; each schedule also has the upper end of its time, by which it is loaded."""
        values = asdict(self)
        certificates = values.pop("certificates")
        schedules = [
            each | {"high_ms": exported.high_ms} for each, exported in zip(certificates, self.schedules, strict=True)
        ]
        return values | {"format": FORMAT, SCHEDULES: schedules}

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


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticJob:
    """What is exported, where to, and what may be spent on measuring it."""

    study: StudyRecord
    trial: TrialRecord
    destination: Path
    table: LatencyTable
    num_schedules: int
    time_limit_s: float
    progress: Progress

    @property
    def latency(self) -> LatencyConfig:
        """How the study's models are run and timed."""
        return validate(dict(self.study.experiment), source=f"study {self.study.name}").latency


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
    job = ElasticJob(
        study=study,
        trial=elastic_trial_of(study, number),
        destination=destination,
        table=table,
        num_schedules=num_schedules,
        time_limit_s=time_limit_s,
        progress=progress,
    )
    check_free(destination, force=force)
    check_runtime(job.latency)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with staging_folder(destination) as staging:
            report = _written(job, staging)
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
    complete, best = complete_elastic(study.trials), best_elastic(study.trials)
    if best is None:
        raise UsageError(
            f"study {study.name!r} has no elastic trial that was trained to the end: search with --set "
            "search.mode=auto, or export a single schedule without --schedules"
        )
    if number is None:
        return best
    if find_trial(study, number) not in complete:
        known = ", ".join(str(trial.number) for trial in complete)
        raise UsageError(
            f"trial {number} of study {study.name!r} is no elastic one, trained to the end; those: {known}"
        )
    return find_trial(study, number)


def spread_over(priced: Sequence[PricedSchedule], num: int) -> tuple[PricedSchedule, ...]:
    """The most accurate schedule up to each of `num` evenly spaced latencies, the fastest first, none twice."""
    known = [each for each in priced if each.top1 is not None]
    highest = max(each.cost for each in known)
    edges = np.linspace(min(each.cost for each in known) if num > 1 else highest, highest, num)
    best = [
        max((each for each in known if each.cost <= edge), key=lambda each: (each.top1 or 0.0, -each.cost))
        for edge in edges.tolist()
    ]
    return tuple(dict.fromkeys(best))


def _written(job: ElasticJob, staging: Path) -> ElasticExport:
    """Write weights, their experiment, and the schedules as they were measured with the weights that were written."""
    study, trial, latency = job.study, job.trial, job.latency
    dense_ms = study.dense_latency.mean_ms
    write_weights(study, trial, staging)
    write_experiment(elastic_experiment(study, trial), staging / EXPERIMENT)
    certificates, data_sha256 = _measured(job, staging)
    write_weights(study, trial, staging, schedules=[each.exported(dense_ms) for each in certificates])
    return ElasticExport(
        study=study.name,
        trial=trial.number,
        directory=str(job.destination),
        device=DeviceFingerprint.detect(latency.device, runtime=latency.runtime).id,
        batch_size=latency.batch_size,
        table_sha256=job.table.sha256,
        dense_ms=dense_ms,
        certificates=certificates,
        file_sha256=file_hashes(staging),
        data_sha256=data_sha256,
        code_sha256=code_sha256(),
        environment=environment(),
    )


def _measured(job: ElasticJob, staging: Path) -> tuple[tuple[ScheduleCertificate, ...], str]:
    from spvit.exported import load_exported

    subject = SeveralSchedules(
        model=load_exported(staging),
        schedules=[each.schedule for each in spread_over(job.trial.priced, job.num_schedules)],
        dense=load_dense_model(job.study)[0],
        data=trial_config(job.trial).data,
        latency=job.latency,
        time_limit_s=job.time_limit_s,
    )
    return measure_schedules(subject, job.progress)
