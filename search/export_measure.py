"""Everything that is measured of a model when it is exported: every file, and the models that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.certificate import DENSE, Certificate, Progress, certify
from search.experiment import validate
from search.export_report import EXPORTED, FIXED
from search.format_certificate import FormatCertificate, FormatTiming, Subject, measure_formats
from search.formats import ExportFormat, write_formats
from search.latency_config import LatencyConfig
from search.records import StudyRecord, TrialRecord
from search.summary import baseline_trial
from search.trial_model import load_dense_model, load_trial_model, trial_config
from trainers.data_split import Split

if TYPE_CHECKING:
    from latency_tables.table import LatencyTable


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportJob:
    """What is exported, where to, and what it is compared with."""

    study: StudyRecord
    trial: TrialRecord
    destination: Path
    table: LatencyTable
    max_latency_ms: float
    formats: tuple[ExportFormat, ...]
    time_limit_s: float
    progress: Progress

    @property
    def latency(self) -> LatencyConfig:
        """How the study's models are run and timed."""
        return validate(dict(self.study.experiment), source=f"study {self.study.name}").latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was found out; `formats` begins with the weights."""

    models: Mapping[str, Certificate]
    formats: tuple[FormatCertificate, ...]
    data_sha256: str
    num_parameters: int


def measure_export(job: ExportJob, staging: Path) -> Measured:
    """Write the portable formats of the weights in a folder, and measure every file beside the models of the study.

    Raises:
        CheckpointError, ConfigError, DataError, UnsupportedModelError: what their names say.
        OSError: a file cannot be written.
    """
    from spvit.exported import load_exported
    from trainers.preprocessing import preprocessing_of

    exported = load_exported(staging)
    preprocessing = preprocessing_of(exported.backbone)
    job.progress(0.05, f"writing {', '.join(job.formats)}")
    write_formats(exported, preprocessing, staging, job.formats)
    dense, is_trained = load_dense_model(job.study)
    models = _models(job, {DENSE: dense, EXPORTED: exported})
    data = trial_config(job.trial).data
    certificates = certify(
        models,
        trained=frozenset(models) - (frozenset() if is_trained else {DENSE}),
        data=data,
        preprocessing=preprocessing,
        latency=job.latency,
        unevaluated=frozenset({(EXPORTED, Split.VAL)}),
        time_limit_s=job.time_limit_s,
        progress=lambda share, text: job.progress(0.2 + 0.4 * share, text),
    )
    formats, data_sha256 = measure_formats(
        Subject(
            folder=staging,
            formats=job.formats,
            model=exported,
            trained=load_trial_model(job.study, job.trial),
            dense=dense,
            preprocessing=preprocessing,
            data=data,
            latency=job.latency,
            time_native=lambda: _timing(certificates),
            time_limit_s=job.time_limit_s,
        ),
        progress=lambda share, text: job.progress(0.6 + 0.4 * share, text),
    )
    own = replace(certificates[EXPORTED], val_top1=formats[0].val_top1)
    return Measured(
        models=certificates | {EXPORTED: own},
        formats=formats,
        data_sha256=data_sha256,
        num_parameters=sum(p.numel() for p in exported.parameters()),
    )


def _models(job: ExportJob, models: dict[str, Any]) -> dict[str, Any]:
    """With the fixed schedule that the search is compared with, if it is another."""
    fixed = baseline_trial(job.study)
    if fixed is None or fixed.number == job.trial.number:
        return models
    return models | {FIXED: load_trial_model(job.study, fixed)}


def _timing(certificates: Mapping[str, Certificate]) -> FormatTiming:
    own, dense = certificates[EXPORTED], certificates[DENSE]
    if own.elapsed is None or dense.elapsed is None:
        raise ValueError("Models that were timed here were required, but no elapsed time came.")
    return FormatTiming(
        elapsed=own.elapsed,
        dense_elapsed=dense.elapsed,
        ratio=own.ratio,
        ratio_low=own.ratio_low,
        ratio_high=own.ratio_high,
    )
