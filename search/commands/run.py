"""`spvit-search run`: from an experiment file to an exported model."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.choice_text import choice_document, taken_lines
from search.commands.options import (
    address_option,
    chosen_formats,
    epilog,
    experiment_argument,
    experiment_runs_dir_option,
    format_option,
    opening_options,
    read_experiment,
    set_option,
    study_folder,
)
from search.commands.pricing import priced_by
from search.commands.progress import progress_bar
from search.commands.searching import SEARCH_CODES, emit_result, event_listeners, events_option, what_launching_does


@click.command("run", epilog=epilog("spvit-search run experiments/demo.toml", "config", *SEARCH_CODES))
@experiment_argument
@set_option
@address_option
@format_option
@opening_options
@experiment_runs_dir_option
@events_option
def command(
    experiment: Path,
    overrides: tuple[str, ...],
    address: str | None,
    runs_dir: Path | None,
    *,
    formats: tuple[str, ...],
    no_register: bool,
    accept_change: bool,
    takeover: bool,
    as_json: bool,
) -> None:
    """Go the whole way: measure the latency table, search, export the best model within the budget, report.

    Of trials that the validation images cannot tell apart the fastest is exported; they are compared image by image.

    What was done before is not done again: called a second time it goes on where it stopped. The same steps one by
    one: profile, launch, export.
    """
    from search.answers import by_answers
    from search.choosing import choose_to_take, only_faster
    from search.exporting import export_trial, register
    from search.inputs import check_search_inputs
    from search.report import final_report
    from search.searching import run_search
    from search.study_opening import OpeningTerms

    config = read_experiment(experiment, overrides, runs_dir)
    folder = study_folder(config)
    check_search_inputs(config)
    table = priced_by(config, folder, may_measure=True)
    terms = OpeningTerms(accept_change=accept_change, takeover=takeover)
    listeners = [*what_launching_does(config), *event_listeners(as_json=as_json)]
    study = run_search(config, table, address=address, listeners=listeners, terms=terms)
    with progress_bar("comparing") as progress:
        # Nobody is here to ask for it, and beside a search it takes no time.
        choice = choose_to_take(study, only_faster(by_answers(study, progress, is_required=False)))
    with progress_bar("exporting") as progress:
        exported = export_trial(
            study,
            folder,
            choice.trial,
            output=folder / "export" / "best",
            force=True,
            formats=chosen_formats(formats),
            progress=progress,
        )
    registration = None if no_register else register(study, exported)
    report = final_report(study, exported)
    registered = [] if registration is None else [registration]
    emit_result(
        report.to_dict()
        | {"registration": registration and registration.to_dict(), "choice": choice_document(choice, study)},
        lambda: "\n".join(
            [report.to_text(), *taken_lines(choice, study, "export"), *(one.to_text() for one in registered)]
        ),
        as_json=as_json,
    )
