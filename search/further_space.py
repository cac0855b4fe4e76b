"""What further trials of a study may be: all that its search explores, or schedules from its elastic weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from search.budget import LatencyBudget, Price
from search.config import ExperimentConfig
from search.contender_choice import ContenderChoice
from search.elastic_estimate import ElasticEstimate
from search.elastic_front import best_elastic
from search.elastic_start import start_within
from search.elastic_trial import schedule_space
from search.records import Origin, StudyRecord, TrialRecord
from search.space import SearchSpace
from search.start_config import StartConfig
from spvit.schedule import TokenGeometry
from trainers.config import TrialConfig


def further_space(study: StudyRecord, experiment: ExperimentConfig, geometry: TokenGeometry) -> SearchSpace:
    """What the study's search would draw its next trial from; `experiment` of it is a search of that.

    Where schedules were trained further from elastic weights, `start` there names these.

    Args:
        study: its trials.
        experiment: the search, on the device that is asked about.
        geometry: of its backbone.
    """
    best, schedule = best_elastic(study.trials), _trained_further(study.trials)
    if best is None or schedule is None:
        return SearchSpace(experiment, geometry)
    start = start_within(Path(study.directory), schedule).start
    elastic = TrialConfig.model_validate(best.config).model_copy(update={"start": start})
    return schedule_space(experiment, geometry, None, elastic)


def search_from_elastic(
    study: StudyRecord, space: SearchSpace, *, price: Price, budget: LatencyBudget
) -> ExperimentConfig:
    """A search of schedules from elastic weights that begins with those which the weights' estimates find best there.

    They are what a search of mode `auto` would train first on that device; its usual warm starts guess what they know.

    Args:
        study: with the elastic weights.
        space: what `further_space` made of it.
        price: what networks cost on the device.
        budget: what a trial may take there.
    """
    found, best = space.experiment, best_elastic(study.trials)
    estimate = None if best is None else ElasticEstimate.of_trial(best, space.geometry)
    if estimate is None:
        return found
    choice = ContenderChoice(
        space=space,
        price=price,
        budget=budget,
        estimate=estimate,
        num_bands=found.search.elastic.num_bands,
        seed=found.study.seed,
    )
    trials = ((start.label, space.trial_config(start.params)) for start in choice.starts())
    enqueue = tuple(
        StartConfig(label=label, keep_rates=schedule.keep_rates, blocks=schedule.blocks)
        for label, trial in trials
        if (schedule := trial.pruning.schedule).stages and budget.admits(price(space.network_of(trial)))
    )
    return found.model_copy(update={"search": found.search.model_copy(update={"enqueue": enqueue, "warm_starts": ()})})


def _trained_further(trials: Iterable[TrialRecord]) -> TrialConfig | None:
    """The last schedule that was trained from elastic weights, which it names: no file is needed to foretell."""
    schedules = [trial for trial in trials if trial.params and trial.origin is not Origin.ELASTIC]
    named = (trial.config for trial in reversed(schedules) if trial.config.get("start"))
    return next((TrialConfig.model_validate(config) for config in named), None)
