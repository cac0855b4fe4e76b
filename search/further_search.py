"""The search that further trials of a study are of: its own, or that of schedules from its elastic weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from search.config import ExperimentConfig
from search.elastic_front import best_elastic
from search.elastic_start import start_within
from search.elastic_trial import schedule_search
from search.records import Origin, StudyRecord, TrialRecord
from spvit.schedule import TokenGeometry
from trainers.config import TrialConfig


def further_search(study: StudyRecord, experiment: ExperimentConfig, geometry: TokenGeometry) -> ExperimentConfig:
    """What the study's search would draw its next trial from, as an experiment.

    Where schedules were trained further from elastic weights, `start` names these.

    Args:
        study: its trials.
        experiment: the search, on the device that is asked about.
        geometry: of its backbone.
    """
    best, schedule = best_elastic(study.trials), _trained_further(study.trials)
    if best is None or schedule is None:
        return experiment
    start = start_within(Path(study.directory), schedule).start
    elastic = TrialConfig.model_validate(best.config).model_copy(update={"start": start})
    return schedule_search(experiment, geometry, elastic)


def _trained_further(trials: Iterable[TrialRecord]) -> TrialConfig | None:
    """The last schedule that was trained from elastic weights, which it names: no file is needed to foretell."""
    schedules = [trial for trial in trials if trial.params and trial.origin is not Origin.ELASTIC]
    named = (trial.config for trial in reversed(schedules) if trial.config.get("start"))
    return next((TrialConfig.model_validate(config) for config in named), None)
