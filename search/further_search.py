"""The search that further trials of a study are of: its own, or that of schedules from its elastic weights. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from search.config import ExperimentConfig
from search.elastic_front import best_elastic
from search.elastic_trial import schedule_search
from search.records import Origin, StudyRecord, TrialRecord
from spvit.schedule import TokenGeometry
from trainers.config import StartWeights, TrialConfig


def further_search(study: StudyRecord, experiment: ExperimentConfig, geometry: TokenGeometry) -> ExperimentConfig:
    """What the study's search would draw its next trial from, as an experiment.

    Where schedules were trained further from elastic weights, `start` names these.

    Args:
        study: its trials.
        experiment: the search, on the device that is asked about.
        geometry: of its backbone.
    """
    best, start = best_elastic(study.trials), _start(study.trials)
    if best is None or start is None:
        return experiment
    elastic = TrialConfig.model_validate(best.config).model_copy(update={"start": start})
    return schedule_search(experiment, geometry, elastic)


def _start(trials: Iterable[TrialRecord]) -> StartWeights | None:
    """The weights that schedules were trained further from, as these say: no file is needed to foretell."""
    schedules = [trial for trial in trials if trial.params and trial.origin is not Origin.ELASTIC]
    named = (trial.config.get("start") for trial in reversed(schedules))
    return next((StartWeights.model_validate(start) for start in named if start), None)
