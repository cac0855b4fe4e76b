"""Records of a study as Optuna's user attributes, and back. The only file that knows the names of the attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from search.driver_holder import Holder
from search.failures import Failure
from search.proposal import Proposal
from search.records import (
    EndCause,
    Generation,
    Latency,
    Origin,
    Rejection,
    SearchEnd,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from search.retries import INTERRUPTED
from search.usage import Usage
from spvit.options import TokenForm
from trainers.metrics import PricedSchedule

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

EXPERIMENT = "experiment"
DENSE_LATENCY = "dense_latency"
MAX_LATENCY_MS = "max_latency_ms"
SMALLER_BUDGETS_MS = "smaller_budgets_ms"
TABLE_SHA256 = "table_sha256"
REJECTIONS = "rejections"
VERSIONS = "versions"
CODE_SHA256 = "code_sha256"
MLFLOW_RUN_ID = "mlflow_run_id"
MLFLOW_EXPERIMENT_ID = "mlflow_experiment_id"
DENSE_TOP1 = "dense_top1"
NUM_VAL_IMAGES = "num_val_images"
USAGE = "usage"
END = "end"
DRIVER = "driver"
DRIVER_BEAT = "driver_beat"
GENERATIONS = "generations"
MOST_TRIALS = "most_trials"

CURVE = "curve"
EPOCH_S = "epoch_s"
FORM = "form"
REASON = "reason"
ESTIMATED_TOP1 = "estimated_top1"
PRICED = "priced"
FAILURE = "failure"


def mlflow_run_key(number: int) -> str:
    """The study's attribute that holds the MLflow run of a trial."""
    return f"{MLFLOW_RUN_ID}/{number}"


def mlflow_run(attrs: Mapping[str, Any], number: int) -> str | None:
    """The MLflow run of a trial, if it has one."""
    return attrs.get(mlflow_run_key(number))


def trial_attrs(proposal: Proposal, *, generation: int = 1) -> dict[str, Any]:
    """Everything about a new trial that is not Optuna's own."""
    schedule = proposal.config.pruning.schedule
    return {
        "config": proposal.config.to_dict(),
        "latency": asdict(proposal.latency),
        "keep_rates": list(schedule.keep_rates),
        "keep_counts": [selection.num_kept for selection in proposal.plan.selections],
        "blocks": [selection.block for selection in proposal.plan.selections],
        "origin": str(proposal.origin),
        "label": proposal.label,
        "retry_of": proposal.retry_of,
        "continues": proposal.continues,
        "generation": generation,
        CURVE: list(proposal.curve),
        EPOCH_S: list(proposal.epoch_s),
        FORM: TokenForm.GATHERED.value,
        **({} if proposal.estimated_top1 is None else {ESTIMATED_TOP1: proposal.estimated_top1}),
    }


def trial_record(trial: FrozenTrial, mlflow_run_id: str | None = None) -> TrialRecord:
    """A trial as it is stored."""
    attrs = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state=TrialState(trial.state.name),
        params=dict(trial.params),
        config=attrs["config"],
        latency=Latency(**attrs["latency"]),
        keep_counts=tuple(attrs["keep_counts"]),
        blocks=tuple(attrs["blocks"]),
        origin=Origin(attrs["origin"]),
        label=attrs["label"],
        curve=tuple(attrs[CURVE]),
        epoch_s=tuple(attrs.get(EPOCH_S, ())),
        form=TokenForm(attrs.get(FORM, TokenForm.GATHERED)),
        top1=trial.values[0] if trial.values else None,
        reason=attrs.get(REASON, ""),
        failure=_failure(trial),
        retry_of=attrs["retry_of"],
        continues=attrs.get("continues"),
        generation=attrs.get("generation", 1),
        estimated_top1=attrs.get(ESTIMATED_TOP1),
        priced=tuple(map(PricedSchedule.from_dict, attrs.get(PRICED, ()))),
        mlflow_run_id=mlflow_run_id,
        started_at=trial.datetime_start.timestamp() if trial.datetime_start else None,
        finished_at=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )


def study_record(name: str, directory: str, attrs: Mapping[str, Any], trials: tuple[TrialRecord, ...]) -> StudyRecord:
    """A study as it is stored."""
    experiment = attrs[EXPERIMENT]
    return StudyRecord(
        name=name,
        directory=directory,
        experiment=experiment,
        dense_latency=Latency(**attrs[DENSE_LATENCY]),
        max_latency_ms=attrs[MAX_LATENCY_MS],
        num_trials=0 if experiment["search"].get("mode") == "elastic" else experiment["search"]["num_trials"],
        num_epochs=experiment["training"]["epochs"],
        trials=trials,
        rejections={Rejection(key): count for key, count in attrs.get(REJECTIONS, {}).items()},
        mlflow_run_id=attrs.get(MLFLOW_RUN_ID),
        mlflow_experiment_id=attrs.get(MLFLOW_EXPERIMENT_ID),
        dense_top1=attrs.get(DENSE_TOP1),
        num_val_images=attrs.get(NUM_VAL_IMAGES),
        table_sha256=attrs.get(TABLE_SHA256, ""),
        versions=attrs.get(VERSIONS, {}),
        smaller_budgets_ms=tuple(attrs.get(SMALLER_BUDGETS_MS, ())),
        usage=Usage(**attrs.get(USAGE, {})),
        end=_search_end(attrs.get(END)),
        generations=generations(attrs),
        most_trials=attrs.get(MOST_TRIALS, 0),
        driver=(driver := _driver(attrs.get(DRIVER))),
        driver_beat_at=None if driver is None else attrs.get(DRIVER_BEAT, {}).get("at"),
    )


def _driver(values: Mapping[str, Any] | None) -> Holder | None:
    holder = None if values is None else Holder.from_dict(values)
    return None if holder is None or holder.is_released else holder


def generation_attrs(generation: Generation) -> dict[str, Any]:
    """A generation as the study keeps it."""
    return asdict(generation)


def generations(attrs: Mapping[str, Any]) -> tuple[Generation, ...]:
    """The generations of a study after its first."""
    return tuple(_generation(values) for values in attrs.get(GENERATIONS, ()))


def _generation(values: Mapping[str, Any]) -> Generation:
    return Generation(
        number=values["number"],
        from_trial=values["from_trial"],
        changes={key: (old, new) for key, (old, new) in values["changes"].items()},
        continued=tuple(values["continued"]),
    )


def _failure(trial: FrozenTrial) -> Failure | None:
    """Studies of earlier versions tell it by the reason alone."""
    if FAILURE in trial.user_attrs:
        return Failure(trial.user_attrs[FAILURE])
    if trial.state.name != TrialState.FAIL:
        return None
    return Failure.INTERRUPTED if trial.user_attrs.get(REASON) == INTERRUPTED else Failure.INFRASTRUCTURE


def _search_end(values: Mapping[str, Any] | None) -> SearchEnd | None:
    return SearchEnd(cause=EndCause(values["cause"]), reason=values["reason"]) if values else None
