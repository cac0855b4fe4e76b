"""`spvit-search extend`: more trials, or longer ones, for a study that there is."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import (
    address_option,
    epilog,
    existing_study,
    json_option,
    opening_options,
    runs_dir_option,
    study_argument,
)
from search.commands.pricing import priced_by
from search.commands.searching import SEARCH_CODES, emit_summary


@click.command("extend", epilog=epilog("spvit-search extend demo --trials +20 --epochs 30", *SEARCH_CODES))
@study_argument
@click.option("--trials", metavar="+N|N", help="So many more trials than were asked for (+20), or so many in all (40).")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="training.epochs from now on: of new trials (after elastic trials, of a share of them), and the front goes on "
    "to so many from its checkpoints.",
)
@address_option
@opening_options
@runs_dir_option
@json_option
def command(
    study: str,
    trials: str | None,
    epochs: int | None,
    address: str | None,
    runs_dir: Path,
    *,
    accept_change: bool,
    takeover: bool,
    as_json: bool,
) -> None:
    """Go on with a study beyond what was asked for: everything found so far is kept.

    With --epochs each trial of the Pareto front is continued as a trial of its own, which goes on from the last
    checkpoint at the learning rates of the longer training; the shorter one stays as it was. In a search with elastic
    trials new schedules are trained for a third of --epochs, or for search.elastic.contender_epochs where that is set;
    the front goes on to --epochs, which has to be more than training.epochs. If it is interrupted, `resume` goes on
    with it; a second `extend` would extend it once more.
    """
    from dataclasses import replace

    from search.extension import extended
    from search.inputs import check_search_inputs
    from search.searching import run_search, stored_experiment
    from search.study import read_study

    folder = existing_study(runs_dir, study)
    record = read_study(folder)
    experiment, terms = extended(stored_experiment(record, folder), record, trials=trials, epochs=epochs)
    check_search_inputs(experiment)
    table = priced_by(experiment, folder, may_measure=False)
    terms = replace(terms, accept_change=accept_change, takeover=takeover)
    emit_summary(run_search(experiment, table, resume=True, address=address, terms=terms), as_json=as_json)
