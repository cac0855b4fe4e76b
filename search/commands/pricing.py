"""The latency table that the commands which search have in common, with what is to be known of it told on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.progress import progress_bar

if TYPE_CHECKING:
    from latency_tables.table import LatencyTable
    from search.config import ExperimentConfig


def priced_by(experiment: ExperimentConfig, folder: Path, *, may_measure: bool) -> LatencyTable:
    """The table that prices what is searched for; measured, or measured again at three points.

    Raises:
        LatencyTableError: there is none, it is for something else, or the device drifted and that is to be refused.
    """
    from search.drift_check import checked_table

    with progress_bar("measuring") as progress:
        checked = checked_table(experiment, folder, may_measure=may_measure, progress=progress)
    for note in checked.notes:
        click.echo(f"warning: {note}", err=True)
    return checked.table
