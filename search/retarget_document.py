"""What `retarget` found, as plain values for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from search.further import FurtherTrial
from search.records import StudyRecord, TrialState
from search.retarget import Retargeted, best_on_every_device
from search.retargeting import DeviceReport
from search.summary import study_hypervolume


def retarget_document(study: StudyRecord, reports: Sequence[DeviceReport]) -> dict[str, Any]:
    """The study on each device, and the trial that is best on all of them. Latencies are in ms, top-1 in percent."""
    best = best_on_every_device([report.result for report in reports])
    return {
        "study": study.name,
        "num_trained": len(study.finished),
        "num_pruned": sum(trial.state is TrialState.PRUNED for trial in study.trials),
        "devices": [_device(report) for report in reports],
        "best_on_every_device": None if best is None else best.number,
    }


def _device(report: DeviceReport) -> dict[str, Any]:
    result = report.result
    before, after, best = result.before, result.after, result.recommended
    return {
        "table": report.file.path,
        "table_sha256": report.file.table.sha256,
        "device": report.device,
        "max_latency_ms": result.budget.max_ms,
        "budget_source": result.budget.source,
        "dense": {"top1": before.dense_top1, "old": before.dense_latency, "new": after.dense_latency},
        "fixed": result.fixed,
        "trials": result.moved,
        "front": [point.number for point in result.front],
        "hypervolume": {
            "old": study_hypervolume(before),
            "new": study_hypervolume(after),
            "old_front_share": result.old_front_share,
        },
        "recommended": None if best is None else best.number,
        "highest_top1": None if result.choice is None else result.choice.best.number,
        "recommended_before": result.recommended_before,
        "smaller_budgets": [_within(result, limit_ms) for limit_ms in result.budget.smaller_ms],
        "further": [_further(trial) for trial in report.further.trials],
        "further_note": report.further.note,
        "lost_weights": report.lost_weights,
    }


def _within(result: Retargeted, limit_ms: float) -> dict[str, Any]:
    best = result.best_within(limit_ms)
    return {"max_latency_ms": limit_ms, "recommended": None if best is None else best.number}


def _further(trial: FurtherTrial) -> dict[str, Any]:
    proposal = trial.proposal
    return {
        "params": proposal.params,
        "blocks": proposal.config.pruning.schedule.blocks,
        "keep_rates": proposal.config.pruning.schedule.keep_rates,
        "block_tokens": proposal.plan.block_tokens,
        "latency": proposal.latency,
        **asdict(trial.forecast),
        "gain_points": trial.gain_points,
    }
