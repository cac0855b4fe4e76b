"""What `launch`, `resume` and `run` have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from search.commands.options import Decorated, study_folder
from search.commands.status import summary_text
from search.listener import StudyListener
from search.plain_json import plain
from search.records import StudyRecord
from search.study_files import STUDY_FILE

if TYPE_CHECKING:
    from search.config import ExperimentConfig

SEARCH_CODES = ("usage", "table", "data", "locked", "mismatch", "storage", "cluster", "failures", "feasible", "stopped")


def events_option(function: Decorated) -> Decorated:
    """`--json`, of the commands that search."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON document per event on stdout, the result last (docs/events.md); progress goes to stderr.",
    )(function)


def event_listeners(*, as_json: bool) -> Sequence[StudyListener]:
    """Who prints events while the search goes on."""
    if not as_json:
        return ()
    from search.event_stream import EventStream

    return (EventStream(sys.stdout),)


def emit_result(document: object, text: Callable[[], str], *, as_json: bool) -> None:
    """Prints how a command that searched ended: text, or the last event."""
    if not as_json:
        click.echo(text())
        return
    from search.event_stream import Event, event_line

    click.echo(event_line(Event.RESULT, plain(document), now_s=time.time()), nl=False)


class _SaidOnOpening(StudyListener):
    """Says something on stderr once the study is open: what refuses to go on with it comes first."""

    def __init__(self, text: str) -> None:
        self._text = text

    @override
    def on_open(self, note_run: Callable[[int | None, str], None], note_experiment: Callable[[str], None]) -> None:
        click.echo(self._text, err=True)


def what_launching_does(experiment: ExperimentConfig) -> Sequence[StudyListener]:
    """Who says what launching does where there is such a study already."""
    folder = study_folder(experiment)
    if not (folder / STUDY_FILE).is_file():
        return ()
    from search.again import what_happens
    from search.study import read_study

    return (_SaidOnOpening(what_happens(read_study(folder), experiment.search.num_trials)),)


def emit_summary(study: StudyRecord, *, as_json: bool) -> None:
    """Prints how a search ended."""
    from search.summary import summarise

    summary = summarise(study)
    emit_result(
        summary.to_dict() | {"directory": study.directory, "is_running": False},
        lambda: f"{summary_text(summary, is_running=False)}\nfolder    {study.directory}",
        as_json=as_json,
    )
