"""What further trials of a study may be: all that its search explores, or schedules from its elastic weights. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from search.config import ExperimentConfig
from search.elastic_front import best_elastic
from search.elastic_trial import schedule_space
from search.records import Origin, StudyRecord, TrialRecord
from search.space import SearchSpace
from spvit.schedule import TokenGeometry
from trainers.config import StartWeights, TrialConfig


def further_space(study: StudyRecord, experiment: ExperimentConfig, geometry: TokenGeometry) -> SearchSpace:
    """What the study's search would draw its next trial from.

    Args:
        study: its trials.
        experiment: the search, on the device that is asked about.
        geometry: of its backbone.
    """
    best, start = best_elastic(study.trials), _start(study.trials)
    if best is None or start is None:
        return SearchSpace(experiment, geometry)
    elastic = TrialConfig.model_validate(best.config).model_copy(update={"start": start})
    return schedule_space(experiment, geometry, None, elastic)


def _start(trials: Iterable[TrialRecord]) -> StartWeights | None:
    """The weights that schedules were trained further from, as these say: no file is needed to foretell."""
    schedules = [trial for trial in trials if trial.params and trial.origin is not Origin.ELASTIC]
    named = (trial.config.get("start") for trial in reversed(schedules))
    return next((StartWeights.model_validate(start) for start in named if start), None)
