"""Everything that is known of one trial, as one value. Pure, but for looking which checkpoints are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.noise import top1_interval
from search.pareto import pareto_front
from search.progress_state import planned_epochs
from search.records import Latency, Origin, StudyRecord, TrialRecord, TrialState
from search.selection import find_trial, keep_rates, trial_points
from search.study_files import trial_directory


@dataclass(frozen=True, kw_only=True, slots=True)
class StageDetail:
    """One selector: before which block, the cumulative share of patches that it keeps, and how many that is."""

    block: int
    keep_rate: float
    num_kept: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialDetail:
    """One trial as a reader wants to see it.

    `top1` (percent) is that of the end, of a trial that was not trained to the end the last of its curve, and
    `top1_interval` its 90 % interval, None where the number of images is unknown. `on_front` is None unless it is
    finished. `checkpoints` are the folders that are there, oldest first. `mlflow_fragment` is the part of MLflow's
    address behind the server's, empty while MLflow has no run of it.
    """

    study: str
    number: int
    state: TrialState
    origin: Origin
    label: str
    reason: str
    top1: float | None
    top1_interval: tuple[float, float] | None
    on_front: bool | None
    latency: Latency
    speed_up: float
    is_within_budget: bool
    stages: tuple[StageDetail, ...]
    curve: tuple[float, ...]
    epoch_s: tuple[float, ...]
    num_planned_epochs: int
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    retry_of: int | None
    started_at: float | None
    finished_at: float | None
    checkpoints: tuple[str, ...]
    mlflow_run_id: str | None
    mlflow_fragment: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def trial_detail(study: StudyRecord, number: int) -> TrialDetail:
    """What is known of a trial.

    Raises:
        UsageError: there is no such trial.
    """
    trial = find_trial(study, number)
    top1 = trial.top1 if trial.top1 is not None else trial.curve[-1] if trial.curve else None
    is_finished = trial.state is TrialState.COMPLETE
    return TrialDetail(
        study=study.name,
        number=number,
        state=trial.state,
        origin=trial.origin,
        label=trial.label,
        reason=trial.reason,
        top1=top1,
        top1_interval=None if top1 is None or not study.num_val_images else top1_interval(top1, study.num_val_images),
        on_front=number in {p.number for p in pareto_front(trial_points(study))} if is_finished else None,
        latency=trial.latency,
        speed_up=study.dense_latency.mean_ms / trial.latency.mean_ms,
        is_within_budget=trial.latency.high_ms <= study.max_latency_ms,
        stages=_stages(trial),
        curve=trial.curve,
        epoch_s=trial.epoch_s,
        num_planned_epochs=planned_epochs(trial, study),
        params=trial.params,
        config=trial.config,
        retry_of=trial.retry_of,
        started_at=trial.started_at,
        finished_at=trial.finished_at,
        checkpoints=_checkpoints(study, trial),
        mlflow_run_id=trial.mlflow_run_id,
        mlflow_fragment=_fragment(study, trial),
    )


def _stages(trial: TrialRecord) -> tuple[StageDetail, ...]:
    """Stages that keep everything have no selector, so the schedule may have more of them than the network."""
    configured = trial.config.get("pruning", {}).get("schedule", {}).get("stages", ())
    rates = dict(zip((int(stage["block"]) for stage in configured), keep_rates(trial), strict=True))
    return tuple(
        StageDetail(block=block, keep_rate=rates.get(block, 1.0), num_kept=count)
        for block, count in zip(trial.blocks, trial.keep_counts, strict=True)
    )


def _checkpoints(study: StudyRecord, trial: TrialRecord) -> tuple[str, ...]:
    folder = trial_directory(Path(study.directory), trial)
    if not folder.is_dir():
        return ()
    return tuple(sorted(str(path.parent) for path in folder.glob("checkpoint-??????/manifest.json")))


def _fragment(study: StudyRecord, trial: TrialRecord) -> str:
    if study.mlflow_experiment_id is None or trial.mlflow_run_id is None:
        return ""
    return f"#/experiments/{study.mlflow_experiment_id}/runs/{trial.mlflow_run_id}"
