"""What a worker's report says: an epoch, or why its trial cannot go on. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.effective import beside_metrics
from search.failures import Failure, ReportKey
from search.records import TrialRecord
from trainers.metrics import EpochMetrics


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a trial cannot go on."""

    failure: Failure
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """An epoch's metrics, and what its worker said beside them."""

    metrics: EpochMetrics
    further: Mapping[str, Any]


def read_report(trial: TrialRecord, report: Mapping[str, Any]) -> EpochReport | Fault:
    """What a report says of a trial: `EpochMetrics.to_dict()`, or a failure and its reason."""
    if ReportKey.FAILURE in report:
        return Fault(failure=Failure(report[ReportKey.FAILURE]), text=str(report[ReportKey.REASON]))
    metrics = EpochMetrics.from_dict(report)
    further, reason = beside_metrics(trial, report)
    top1 = metrics.evaluation.top1
    if not math.isfinite(top1):
        return Fault(failure=Failure.DIVERGENCE, text=f"diverged: top-1 is {top1} after epoch {metrics.epoch}")
    if reason:
        return Fault(failure=Failure.CONFIGURATION, text=reason)
    return EpochReport(metrics=metrics, further=further)
