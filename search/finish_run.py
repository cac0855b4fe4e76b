"""Puts the training of chosen trials together and runs it, as the launcher does with a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.finishing import FinishDriver
from search.launcher import Device, search
from search.listener import StudyListener
from search.records import StudyRecord, TrialRecord
from search.searching import study_listeners
from search.study import USUAL_TERMS
from search.study_opening import OpeningTerms


def run_finish(
    experiment: ExperimentConfig,
    table: LatencyTable,
    *,
    chosen: Sequence[TrialRecord],
    epochs: int,
    address: str | None = None,
    listeners: Sequence[StudyListener] = (),
    terms: OpeningTerms = USUAL_TERMS,
) -> StudyRecord:
    """Train the chosen trials of a study to so many epochs, showing progress and tracking as a search does.

    Args:
        experiment: the study's own.
        table: the study's own.
        chosen: complete trials, trained for fewer epochs.
        epochs: what they are trained to.
        address: of a Ray cluster; a local Ray where not given.
        listeners: told of everything, before the usual ones.
        terms: what is allowed when the study is opened.

    Returns:
        The study.

    Raises:
        SpvitError: whatever ends it early; what finished before is kept, and another call goes on.
    """
    return search(
        experiment,
        Device.from_table(table),
        listeners=[*listeners, *study_listeners(experiment)],
        resume=True,
        address=address,
        terms=terms,
        driver_type=partial(FinishDriver, chosen=chosen, epochs=epochs),
    )
