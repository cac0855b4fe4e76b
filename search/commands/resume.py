"""`spvit-search resume`: go on with a study that was stopped or interrupted."""

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


@click.command("resume", epilog=epilog("spvit-search resume demo", *SEARCH_CODES))
@study_argument
@address_option
@opening_options
@runs_dir_option
@json_option
def command(
    study: str, address: str | None, runs_dir: Path, *, accept_change: bool, takeover: bool, as_json: bool
) -> None:
    """Continue a study: finished trials are kept, interrupted ones go on from their checkpoints.

    The study's own experiment and latency table are used; nothing but its name is needed.
    """
    from search.inputs import check_search_inputs
    from search.searching import run_search, stored_experiment
    from search.study import read_study
    from search.study_opening import OpeningTerms

    folder = existing_study(runs_dir, study)
    experiment = stored_experiment(read_study(folder), folder)
    check_search_inputs(experiment)
    table = priced_by(experiment, folder, may_measure=False)
    terms = OpeningTerms(accept_change=accept_change, takeover=takeover)
    emit_summary(run_search(experiment, table, resume=True, address=address, terms=terms), as_json=as_json)
