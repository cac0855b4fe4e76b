"""Fine-tuning of one pruned model: data, losses, optimisation, evaluation, checkpoints. Knows nothing of a search.

Importing this package does not import torch; the names below are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.checkpoint import SavedCheckpoint, latest_checkpoint, save_checkpoint
    from trainers.config import TrainingConfig, TrialConfig
    from trainers.data import describe_data, open_split
    from trainers.evaluate import evaluate, evaluate_adaptive
    from trainers.fine_tune import FineTuner
    from trainers.metrics import EpochMetrics, Evaluation
    from trainers.plain_images import PlainImages
    from trainers.thresholds import calibrate_thresholds
    from trainers.workers import WorkerGroup

__all__ = [
    "EpochMetrics",
    "Evaluation",
    "FineTuner",
    "PlainImages",
    "SavedCheckpoint",
    "TrainingConfig",
    "TrialConfig",
    "WorkerGroup",
    "calibrate_thresholds",
    "describe_data",
    "evaluate",
    "evaluate_adaptive",
    "latest_checkpoint",
    "open_split",
    "save_checkpoint",
]

_HOMES = {
    "checkpoint": ("SavedCheckpoint", "latest_checkpoint", "save_checkpoint"),
    "config": ("TrainingConfig", "TrialConfig"),
    "data": ("describe_data", "open_split"),
    "evaluate": ("evaluate", "evaluate_adaptive"),
    "fine_tune": ("FineTuner",),
    "metrics": ("EpochMetrics", "Evaluation"),
    "plain_images": ("PlainImages",),
    "thresholds": ("calibrate_thresholds",),
    "workers": ("WorkerGroup",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"trainers.{_HOME_OF[name]}"), name)
