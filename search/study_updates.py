"""What MLflow is told about a study and its trials: records in, run updates out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search.effective import FACTS_SHA256
from search.elastic_front import ELASTIC_METRIC
from search.records import Origin, StudyRecord, TrialRecord, TrialState
from search.run_update import MetricPoint, RunStatus, RunUpdate, finite_metrics
from search.search_progress import SearchProgress
from search.selection import keep_rates
from search.tracking_view import study_view

STATUS_OF = {
    TrialState.COMPLETE: RunStatus.FINISHED,
    TrialState.PRUNED: RunStatus.KILLED,
    TrialState.FAIL: RunStatus.FAILED,
}
EPOCH_METRICS = {
    "val_top1": "top1",
    "val_top5": "top5",
    "val_loss": "val_loss",
    "lr": "lr",
    "images_per_second": "images_per_second",
    "train_seconds": "train_s",
    "eval_seconds": "eval_s",
}
"""What a report calls it, and what MLflow shows it as. Top-1 and top-5 are in percent."""
# MLflow cuts a tag at 8,000 characters with a warning of its own.
MAX_TAG_LENGTH = 5_000


def search_started(study: StudyRecord, *, artifacts: Sequence[str] = (), now_ms: int) -> RunUpdate:
    """The parent run of a search that begins or goes on, with the files that it was given."""
    search = study.experiment.get("search", {})
    tags = {
        "spvit.role": "search",
        "spvit.max_latency_ms": f"{study.max_latency_ms:.6g}",
        "spvit.smaller_budgets_ms": ", ".join(f"{limit_ms:.6g}" for limit_ms in study.smaller_budgets_ms),
        "spvit.dense_latency_ms": f"{study.dense_latency.mean_ms:.6g}",
        "spvit.num_trials": str(study.num_trials),
        "spvit.model": str(study.experiment.get("model", {}).get("name", "")),
        "spvit.mode": str(search.get("mode", "")),
        "spvit.sampler": str(search.get("sampler", "")),
        "spvit.pruner": str(search.get("pruner", "")),
    }
    return RunUpdate(
        number=None,
        name="search",
        start_ms=now_ms,
        tags=_texts(tags),
        status=RunStatus.RUNNING,
        artifacts=tuple(artifacts),
        experiment_tags=study_view(study),
    )


def trial_started(trial: TrialRecord, study: StudyRecord, *, now_ms: int) -> RunUpdate:
    """The run of a trial, with what was proposed and what it is predicted to cost."""
    start_ms = _milliseconds(trial.started_at, now_ms)
    rates = {f"keep{stage}": rate for stage, rate in enumerate(keep_rates(trial), start=1)}
    latency, _ = finite_metrics(_predicted(trial, study), step=0, timestamp_ms=start_ms)
    return RunUpdate(
        number=trial.number,
        name=trial.label or f"trial {trial.number}",
        start_ms=start_ms,
        params={key: _text(value) for key, value in {**trial.params, **rates}.items()},
        metrics=latency,
        tags=_texts({"spvit.state": TrialState.RUNNING, "spvit.role": "trial", **_tags(trial)}),
    )


def epoch_finished(trial: TrialRecord, metrics: Mapping[str, Any], *, now_ms: int) -> RunUpdate:
    """One epoch of a trial, its number as step: accuracy, each term of the loss, speed, and what the machine did."""
    values = {
        key: float(value) for key, value in metrics.items() if key.startswith(("loss_", "system/", ELASTIC_METRIC))
    }
    values |= {name: float(metrics[key]) for key, name in EPOCH_METRICS.items() if key in metrics}
    points, tags = finite_metrics(values, step=int(metrics["epoch"]), timestamp_ms=now_ms)
    if FACTS_SHA256 in metrics:
        tags["spvit.effective_config_sha256"] = metrics[FACTS_SHA256]
    return RunUpdate(number=trial.number, metrics=points, tags=tags)


def trial_ended(trial: TrialRecord, *, now_ms: int) -> RunUpdate:
    """How a trial ended, and why."""
    return RunUpdate(
        number=trial.number,
        tags=_texts({"spvit.state": trial.state, "spvit.reason": trial.reason, **_tags(trial)}),
        status=STATUS_OF[trial.state],
        end_ms=_milliseconds(trial.finished_at, now_ms),
    )


def search_progress(progress: SearchProgress, *, now_ms: int) -> RunUpdate:
    """Hypervolume and the best trial within each budget; the number of trials trained to the end as step."""
    points, _ = finite_metrics(progress.metrics(), step=progress.num_finished, timestamp_ms=now_ms)
    return RunUpdate(number=None, metrics=points)


def search_ended(study: StudyRecord, *, note: str, artifacts: Sequence[str], now_ms: int) -> RunUpdate:
    """The parent run of a search that ended or was stopped, with its note (Markdown) and files."""
    tags = {
        "mlflow.note.content": note,
        "spvit.rejected": str(sum(study.rejections.values())),
        "spvit.end": "" if study.end is None else str(study.end.cause),
        "spvit.end_reason": "" if study.end is None else study.end.reason,
        "spvit.wall_time_s": f"{study.usage.wall_s:.0f}",
        "spvit.gpu_hours": f"{study.usage.gpu_hours:.4g}",
    }
    return RunUpdate(
        number=None,
        tags=_texts(tags),
        status=RunStatus.FINISHED,
        end_ms=now_ms,
        artifacts=tuple(artifacts),
        experiment_tags=study_view(study),  # once more: trials tell how many stages there can be
    )


def replay(study: StudyRecord) -> Iterator[RunUpdate]:
    """Everything that a study's record knows, as updates that are the same each time.

    The record keeps top-1 of each epoch but not its time: epochs are spread evenly over the trial's duration.
    """
    first_ms = min((_milliseconds(t.started_at, 0) for t in study.trials), default=0)
    yield search_started(study, now_ms=first_ms)
    for trial in study.trials:
        yield trial_started(trial, study, now_ms=first_ms)
        yield RunUpdate(number=trial.number, metrics=tuple(_curve(trial, first_ms)))
        if trial.state.is_finished:
            yield trial_ended(trial, now_ms=first_ms)
    yield from _progress_over_time(study, first_ms)


def _predicted(trial: TrialRecord, study: StudyRecord) -> dict[str, float]:
    """What a trial's network costs and is thought to be worth, and the tokens that each stage keeps.

    An elastic trial is no network: with a latency it would be a point among them in MLflow's chart of the front.
    """
    if trial.origin is Origin.ELASTIC:
        return {}
    latency = trial.latency
    values = {"latency_ms": latency.mean_ms, "latency_low_ms": latency.low_ms, "latency_high_ms": latency.high_ms}
    values["speed_up"] = study.dense_latency.mean_ms / latency.mean_ms
    if trial.estimated_top1 is not None:
        values["estimated_top1"] = trial.estimated_top1
    return values | {f"num_tokens{stage}": count for stage, count in enumerate(trial.keep_counts, start=1)}


def _progress_over_time(study: StudyRecord, first_ms: int) -> Iterator[RunUpdate]:
    progress = SearchProgress(study)
    for trial in sorted(study.finished, key=lambda t: (t.finished_at or 0.0, t.number)):
        progress.add(trial)
        yield search_progress(progress, now_ms=_milliseconds(trial.finished_at, first_ms))


def _curve(trial: TrialRecord, now_ms: int) -> Iterator[MetricPoint]:
    start = _milliseconds(trial.started_at, now_ms)
    end = _milliseconds(trial.finished_at, start)
    for epoch, top1 in enumerate(trial.curve, start=1):
        when = start + (end - start) * epoch // len(trial.curve)
        yield from finite_metrics({"top1": top1}, step=epoch, timestamp_ms=when)[0]


def _tags(trial: TrialRecord) -> dict[str, str]:
    tags = {"spvit.origin": str(trial.origin), "spvit.trial": str(trial.number)}
    tags |= {"spvit.form": str(trial.form), "spvit.training_form": trial.training_form}
    tags["spvit.keep_counts"] = ", ".join(str(count) for count in trial.keep_counts)
    if trial.origin is Origin.RETRY and trial.retry_of is not None:
        tags["spvit.retry_of"] = str(trial.retry_of)
    if trial.continues is not None:
        tags["spvit.continues"] = str(trial.continues)
    if trial.generation > 1:
        tags["spvit.generation"] = str(trial.generation)
    return tags


def _texts(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: str(value)[:MAX_TAG_LENGTH] for key, value in tags.items() if value}


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _milliseconds(seconds: float | None, otherwise_ms: int) -> int:
    return otherwise_ms if seconds is None else round(seconds * 1000)
