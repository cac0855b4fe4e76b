"""The platform around the method: experiments, latency budgets, the search on Ray, tracking and export.

Importing this package imports neither torch nor Ray: the names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.config import ExperimentConfig
    from search.experiment import load_experiment
    from search.known_latency import KnownLatencySampler
    from search.launcher import launch
    from search.listener import StudyListener
    from search.pareto_pruner import ParetoPruner
    from search.records import StudyRecord, TrialRecord
    from search.study import StudyStore

__all__ = [
    "ExperimentConfig",
    "KnownLatencySampler",
    "ParetoPruner",
    "StudyListener",
    "StudyRecord",
    "StudyStore",
    "TrialRecord",
    "launch",
    "load_experiment",
]

_HOMES = {
    "ExperimentConfig": "config",
    "KnownLatencySampler": "known_latency",
    "ParetoPruner": "pareto_pruner",
    "StudyListener": "listener",
    "StudyRecord": "records",
    "StudyStore": "study",
    "TrialRecord": "records",
    "launch": "launcher",
    "load_experiment": "experiment",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
