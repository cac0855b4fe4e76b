"""The platform around the method: experiments, latency budgets, the search on Ray, tracking and export.

Importing this package imports neither torch nor Ray: the names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.api import finish, launch, resume
    from search.choosing import Choice
    from search.config import ExperimentConfig
    from search.experiment import load_experiment
    from search.known_latency import KnownLatencySampler
    from search.listener import StudyListener
    from search.noise import Difference
    from search.opened_study import Study, load_study
    from search.pareto_pruner import ParetoPruner
    from search.records import StudyRecord, TrialRecord
    from search.study import StudyStore

__all__ = [
    "Choice",
    "Difference",
    "ExperimentConfig",
    "KnownLatencySampler",
    "ParetoPruner",
    "Study",
    "StudyListener",
    "StudyRecord",
    "StudyStore",
    "TrialRecord",
    "finish",
    "launch",
    "load_experiment",
    "load_study",
    "resume",
]

_HOMES = {
    "Choice": "choosing",
    "Difference": "noise",
    "ExperimentConfig": "config",
    "KnownLatencySampler": "known_latency",
    "ParetoPruner": "pareto_pruner",
    "Study": "opened_study",
    "StudyListener": "listener",
    "StudyRecord": "records",
    "StudyStore": "study",
    "TrialRecord": "records",
    "finish": "api",
    "launch": "api",
    "load_experiment": "experiment",
    "load_study": "opened_study",
    "resume": "api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
