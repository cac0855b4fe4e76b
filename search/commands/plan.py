"""`spvit-search plan`: what a search would reach and cost, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.options import (
    address_option,
    epilog,
    experiment_argument,
    experiment_runs_dir_option,
    json_option,
    read_experiment,
    set_option,
    study_folder,
)
from search.commands.output import emit
from search.commands.pricing import priced_by
from search.commands.progress import progress_bar

if TYPE_CHECKING:
    from search.forecast import ElasticLoad, Interval
    from search.plan import SearchPlan

EPILOG = epilog(
    "spvit-search plan experiments/demo.toml --set search.num_trials=50",
    *("config", "usage", "table", "data", "mismatch", "storage", "cluster", "feasible"),
)


@click.command("plan", epilog=EPILOG)
@experiment_argument
@set_option
@address_option
@click.option(
    "--profile/--no-profile", "may_measure", default=True, help="Measure the latency table first if there is none."
)
@click.option(
    "--curves",
    type=click.Path(path_type=Path),
    help="A recorded study, whose curves tell how early trials are stopped.",
)
@experiment_runs_dir_option
@json_option
def command(
    *,
    experiment: Path,
    overrides: tuple[str, ...],
    address: str | None,
    runs_dir: Path | None,
    may_measure: bool,
    curves: Path | None,
    as_json: bool,
) -> None:
    """Say which latencies a search can reach, how many networks there are, and what it will cost. Trains nothing.

    The experiment is checked as `launch` checks it, a few training steps are timed, and settings that make no sense
    together are named. Written are a latency table, where there is none yet, and the plan, which MLflow then shows
    with the search.
    """
    from search.inputs import check_search_inputs
    from search.plan import keep_plan
    from search.planning import make_plan
    from search.recorded import RecordedStudy

    config = read_experiment(experiment, overrides, runs_dir)
    check_search_inputs(config)
    recorded = None if curves is None else RecordedStudy.load(curves)
    folder = study_folder(config)
    table = priced_by(config, folder, may_measure=may_measure)
    with progress_bar("planning") as progress:
        plan = make_plan(config, table, folder, address=address, curves=recorded, progress=progress)
    keep_plan(plan, folder)
    emit(plan.to_dict(), lambda: plan_text(plan), as_json=as_json)


def plan_text(plan: SearchPlan) -> str:
    """A plan in a few lines for a reader."""
    done = f", of which {plan.num_done} have ended" if plan.num_done else ""
    first = "" if plan.elastic is None else "after its elastic trials "
    trials = f"{first}{plan.num_trials} trials of up to {plan.num_epochs} epochs{done}"
    return "\n".join(
        [
            f"study     {plan.study}: {trials if plan.num_trials else 'elastic trials alone'}",
            *_reach_lines(plan),
            *_cost_lines(plan),
            *(f"warning   {warning}" for warning in plan.warnings),
        ]
    )


def _reach_lines(plan: SearchPlan) -> list[str]:
    reach = plan.reach
    cheapest, low_ms, median_ms, high_ms = reach.cheapest, *reach.drawn_ms
    tokens = " ".join(str(count) for count in dict.fromkeys(cheapest.plan.block_tokens))
    sure = "" if cheapest.is_exact else "; not every network was priced"
    return [
        f"dense     {reach.dense.mean_ms:.3f} ms",
        f"cheapest  {cheapest.latency.mean_ms:.3f} ms (at most {cheapest.latency.high_ms:.3f}), tokens {tokens}{sure}",
        f"drawn     {low_ms:.3f} to {high_ms:.3f} ms at random, half of them below {median_ms:.3f}",
        *(
            f"budget    {b.max_latency_ms:.3f} ms ({b.source}): {100 * b.feasible.share:.1f} % of the space is within "
            f"it ({100 * b.feasible.low:.1f} to {100 * b.feasible.high:.1f})"
            for b in reach.budgets
        ),
        f"networks  {_networks(plan)}",
    ]


def _networks(plan: SearchPlan) -> str:
    count = plan.reach.count
    if count is None:
        return f"at least about {plan.reach.num_estimated:,} (estimated from draws)"
    forms = "" if count.num_forms == 1 else f", each with {count.num_forms} forms of selectors"
    return f"{count.num_schedules:,} of different tokens (exact){forms}"


def _cost_lines(plan: SearchPlan) -> list[str]:
    cost, forecast, fit = plan.cost, plan.forecast, plan.fit
    scaled = f", scaled up from {cost.images_timed} images" if cost.is_scaled else ""
    memory = f"{cost.peak_mib:.0f} MiB" + (f", {cost.gpu_peak_mib:.0f} MiB of GPU" if cost.gpu_peak_mib else "")
    parts = f"{cost.steps_per_epoch} steps and {cost.evaluation_s:.3g} s of evaluation an epoch"
    epochs, source = _range(forecast.num_epochs, 0), forecast.kept.source
    return [
        f"trial     {cost.step_s:.3g} s a step{scaled}, {parts}; about {memory}",
        *([] if plan.elastic is None else [_elastic_line(plan.elastic)]),
        f"at once   {fit.num_at_once} trials, at the pace of {fit.num_at_full_speed:g}",
        f"epochs    {epochs} in {forecast.num_trials} trials (stopped early: {source})",
        f"hours     {_range(forecast.hours, 2)}; {_range(forecast.trial_hours, 2)} of all trials added up",
    ]


def _elastic_line(load: ElasticLoad) -> str:
    trials = "1 trial" if load.num_trials == 1 else f"{load.num_trials} trials"
    epoch = f"{_range(load.epoch, 1)} s each, then {load.pricing:.3g} s of pricing schedules"
    return f"elastic   {trials} of {load.num_epochs} epochs, {epoch}"


def _range(interval: Interval, digits: int) -> str:
    middle = "" if interval.middle is None else f", probably {interval.middle:.{digits}f}"
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}{middle}"
