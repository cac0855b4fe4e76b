"""`spvit-search launch`: search for the best pruning within the latency budget."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import (
    address_option,
    epilog,
    experiment_argument,
    experiment_runs_dir_option,
    opening_options,
    read_experiment,
    set_option,
    study_folder,
)
from search.commands.pricing import priced_by
from search.commands.searching import SEARCH_CODES, emit_summary, event_listeners, events_option, what_launching_does

EPILOG = epilog("spvit-search launch experiments/demo.toml --set search.num_trials=8", "config", *SEARCH_CODES)


@click.command("launch", epilog=EPILOG)
@experiment_argument
@set_option
@address_option
@opening_options
@click.option(
    "--profile/--no-profile", "may_measure", default=True, help="Measure the latency table first if there is none."
)
@experiment_runs_dir_option
@events_option
def command(
    experiment: Path,
    overrides: tuple[str, ...],
    address: str | None,
    runs_dir: Path | None,
    *,
    accept_change: bool,
    takeover: bool,
    may_measure: bool,
    as_json: bool,
) -> None:
    """Search keep rates, loss weights and training settings for the most accurate model within the budget.

    The latency table is the experiment's latency.table, or else the study's own. Schedules over the budget are
    rejected before any training. Ctrl-C ends the search in order; `resume` goes on with it, and so does the same
    launch again.
    """
    from search.inputs import check_search_inputs
    from search.searching import run_search
    from search.study_opening import OpeningTerms

    config = read_experiment(experiment, overrides, runs_dir)
    check_search_inputs(config)
    table = priced_by(config, study_folder(config), may_measure=may_measure)
    terms = OpeningTerms(accept_change=accept_change, takeover=takeover)
    listeners = [*what_launching_does(config), *event_listeners(as_json=as_json)]
    emit_summary(run_search(config, table, address=address, listeners=listeners, terms=terms), as_json=as_json)
