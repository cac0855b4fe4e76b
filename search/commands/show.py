"""`spvit-search show`: everything about one trial."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from search.commands.csv_text import emit_rows
from search.commands.options import csv_option, epilog, existing_study, json_option, runs_dir_option, study_argument
from search.progress_state import duration
from search.records import Origin
from search.trial_detail import TrialDetail

TICKS = "▁▂▃▄▅▆▇█"


@click.command("show", epilog=epilog("spvit-search show demo 7", "usage", "storage"))
@study_argument
@click.argument("trial", type=click.IntRange(min=0))
@click.option("--config", "with_config", is_flag=True, help="Also every key of its configuration.")
@runs_dir_option
@json_option
@csv_option
def command(study: str, trial: int, runs_dir: Path, *, with_config: bool, as_json: bool, as_csv: bool) -> None:
    """Show one trial: parameters, curve, tokens per stage, latency, why it ended, checkpoints and MLflow's page.

    Works while the study is running, from another terminal. --csv prints its curve, a line per epoch.
    """
    from search.study import read_study
    from search.trial_detail import trial_detail

    record = read_study(existing_study(runs_dir, study))
    detail = trial_detail(record, trial)
    emit_rows(
        detail.to_dict(),
        curve_rows(detail),
        lambda: detail_text(detail, with_config=with_config),
        as_json=as_json,
        as_csv=as_csv,
    )


def curve_rows(detail: TrialDetail) -> list[dict[str, object]]:
    """A trial's epochs: number, top-1 in percent, seconds where they were noted."""
    seconds = [*detail.epoch_s, *[None] * (len(detail.curve) - len(detail.epoch_s))]
    return [
        {"number": detail.number, "epoch": epoch, "top1": top1, "epoch_s": epoch_s}
        for epoch, (top1, epoch_s) in enumerate(zip(detail.curve, seconds, strict=True), start=1)
    ]


def detail_text(detail: TrialDetail, *, with_config: bool) -> str:
    """A trial for a reader."""
    lines = [
        f"trial        {detail.number} of study {detail.study}, {_how(detail)}",
        f"origin       {_origin(detail)}",
        *([f"reason       {detail.reason}"] if detail.reason else []),
        f"top-1        {_top1(detail)}",
        f"curve        {curve_text(detail.curve)}",
        f"latency      {_latency(detail)}",
        *_stage_lines(detail),
        *(f"parameter    {name} = {_number(value)}" for name, value in detail.params.items()),
        *_time_lines(detail),
        *(f"checkpoint   {path}" for path in detail.checkpoints or ("none is left",)),
        f"MLflow       {_mlflow(detail)}",
        *(_config_lines(detail) if with_config else []),
    ]
    return "\n".join(lines)


def curve_text(curve: tuple[float, ...]) -> str:
    """A learning curve as a line of bars, and its ends."""
    if not curve:
        return "no epoch yet"
    low, spread = min(curve), max(curve) - min(curve)
    bars = "".join(TICKS[round((len(TICKS) - 1) * (value - low) / spread) if spread else 0] for value in curve)
    return f"{bars}  {curve[0]:.2f} to {curve[-1]:.2f} % in {len(curve)} epochs"


def _how(detail: TrialDetail) -> str:
    front = {True: ", on the front", False: ", not on the front", None: ""}[detail.on_front]
    return f"{detail.state.lower()} after epoch {len(detail.curve)} of {detail.num_planned_epochs}{front}"


def _origin(detail: TrialDetail) -> str:
    again = "" if detail.retry_of is None else f", goes on with trial {detail.retry_of}"
    label = f" ({detail.label})" if detail.label else ""
    return f"{detail.origin.replace('_', ' ')}{label}{again}"


def _top1(detail: TrialDetail) -> str:
    if detail.top1 is None:
        return "none yet"
    if detail.origin is Origin.ELASTIC:
        return f"{detail.top1:.2f} %, the mean over all budgets of the best schedule within each"
    if detail.top1_interval is None:
        return f"{detail.top1:.2f} %"
    low, high = detail.top1_interval
    return f"{detail.top1:.2f} % ({low:.2f} to {high:.2f} %, 90 % interval of the validation images)"


def _latency(detail: TrialDetail) -> str:
    if detail.origin is Origin.ELASTIC:
        return f"one set of weights for every schedule up to {detail.latency.mean_ms:.3f} ms"
    within = "within" if detail.is_within_budget else "not within"
    return (
        f"{detail.latency.mean_ms:.3f} ms predicted ({detail.latency.low_ms:.3f} to {detail.latency.high_ms:.3f}), "
        f"{detail.speed_up:.2f} times as fast as dense, {within} the budget"
    )


def _stage_lines(detail: TrialDetail) -> list[str]:
    if detail.origin is Origin.ELASTIC:
        return []
    if not detail.stages:
        return ["tokens       all in every block: nothing is pruned"]
    return [
        f"tokens       from block {stage.block} on {stage.num_kept} patches ({stage.keep_rate:.3f} of all)"
        for stage in detail.stages
    ]


def _time_lines(detail: TrialDetail) -> list[str]:
    if detail.started_at is None:
        return []
    begun = datetime.fromtimestamp(detail.started_at, UTC).isoformat(sep=" ", timespec="seconds")
    if detail.finished_at is None:
        return [f"time         begun {begun}"]
    return [f"time         begun {begun}, took {duration(detail.finished_at - detail.started_at)}"]


def _mlflow(detail: TrialDetail) -> str:
    if not detail.mlflow_fragment:
        return "not tracked yet" if detail.mlflow_run_id is None else f"run {detail.mlflow_run_id}"
    return f"spvit-search dashboard {detail.study} --trial {detail.number}  ({detail.mlflow_fragment})"


def _config_lines(detail: TrialDetail) -> list[str]:
    from search.trial_pair import flattened

    return [f"config       {key} = {_number(value)}" for key, value in flattened(detail.config).items()]


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
