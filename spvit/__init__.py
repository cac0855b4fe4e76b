"""Soft token pruning (SPViT) for the vision transformers of timm: schedules, token selectors and the pruned model.

Importing this package does not import torch; the names below are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spvit import torchvision_ops

if TYPE_CHECKING:
    from spvit.adaptive import AdaptiveOutput, AdaptiveViT
    from spvit.exported import load, load_exported
    from spvit.factory import create_backbone, geometry_of
    from spvit.masked import MaskedViT
    from spvit.model import PrunedOutput, PrunedViT, SelectionOutput, dense_tokens
    from spvit.multi_head_selector import MultiHeadSelector
    from spvit.options import HeadWeighting, SelectorKind, Serving, TokenForm
    from spvit.pit import PrunedPiT
    from spvit.pruned_model import PrunedModel
    from spvit.pruning import prune
    from spvit.schedule import PackageMode, PruningSchedule, Stage, TokenGeometry, TokenPlan
    from spvit.selector import LearnedSelector, Scores, TokenSelector
    from spvit.thresholds import Calibration, Thresholds

__all__ = [
    "AdaptiveOutput",
    "AdaptiveViT",
    "Calibration",
    "HeadWeighting",
    "LearnedSelector",
    "MaskedViT",
    "MultiHeadSelector",
    "PackageMode",
    "PrunedModel",
    "PrunedOutput",
    "PrunedPiT",
    "PrunedViT",
    "PruningSchedule",
    "Scores",
    "SelectionOutput",
    "SelectorKind",
    "Serving",
    "Stage",
    "Thresholds",
    "TokenForm",
    "TokenGeometry",
    "TokenPlan",
    "TokenSelector",
    "create_backbone",
    "dense_tokens",
    "geometry_of",
    "load",
    "load_exported",
    "prune",
]

_HOMES = {
    "adaptive": ("AdaptiveOutput", "AdaptiveViT"),
    "exported": ("load", "load_exported"),
    "factory": ("create_backbone", "geometry_of"),
    "model": ("PrunedOutput", "PrunedViT", "SelectionOutput", "dense_tokens"),
    "options": ("HeadWeighting", "SelectorKind", "Serving", "TokenForm"),
    "pit": ("PrunedPiT",),
    "pruning": ("prune",),
    "pruned_model": ("PrunedModel",),
    "schedule": ("PackageMode", "PruningSchedule", "Stage", "TokenGeometry", "TokenPlan"),
    "multi_head_selector": ("MultiHeadSelector",),
    "masked": ("MaskedViT",),
    "thresholds": ("Calibration", "Thresholds"),
    "selector": ("LearnedSelector", "Scores", "TokenSelector"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

torchvision_ops.install()


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"spvit.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
