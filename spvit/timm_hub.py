"""Pruned models by timm's own loader: `timm.create_model("local-dir:FOLDER", pretrained=True)` of an exported folder.

timm finds the architecture once this module is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from timm.models import register_model

from spvit.errors import CheckpointError
from spvit.factory import create_backbone
from spvit.options import HeadWeighting, SelectorKind
from spvit.pruned_model import PrunedModel
from spvit.pruning import prune
from spvit.schedule import PackageMode, PruningSchedule, Stage

ARCHITECTURE = "spvit_pruned"
WEIGHTS = "model.safetensors"


def model_args(
    model: PrunedModel,
    *,
    name: str,
    args: Mapping[str, bool | int | float | str],
    selector: SelectorKind,
    head_weighting: HeadWeighting,
    package: PackageMode,
) -> dict[str, Any]:
    """What `build` needs to make the network again, as JSON values.

    Args:
        model: the pruned model.
        name: the backbone's name in timm.
        args: further arguments of `timm.create_model` for the backbone.
        selector: how tokens are scored.
        head_weighting: how a multi-head selector weighs its heads.
        package: what becomes of dropped tokens.
    """
    return {
        "backbone": name,
        "backbone_args": dict(args),
        "stages": [asdict(stage) for stage in model.schedule.stages],
        "selector": str(selector),
        "head_weighting": str(head_weighting),
        "package": str(package),
    }


def build(
    *,
    backbone: str,
    backbone_args: Mapping[str, bool | int | float | str],
    stages: Sequence[Mapping[str, Any]],
    selector: str,
    head_weighting: str,
    package: str,
) -> PrunedModel:
    """The network that `model_args` describes, with random weights.

    Raises:
        ConfigError: the backbone cannot be made.
        TypeError, ValueError: the values are not such a description.
    """
    return prune(
        create_backbone(backbone, args=backbone_args),
        PruningSchedule(stages=tuple(Stage(**stage) for stage in stages)),
        selector=SelectorKind(selector),
        head_weighting=HeadWeighting(head_weighting),
        package=PackageMode(package),
    )


@register_model  # type: ignore[untyped-decorator]
def spvit_pruned(pretrained: bool = False, pretrained_cfg: Any = None, **kwargs: Any) -> PrunedModel:
    """The way in for timm: called with the `model_args` of a folder's `config.json`, and arguments of its own.

    Raises:
        CheckpointError: weights were asked for, but no folder was named, or they do not fit.
    """
    known = ("backbone", "backbone_args", "stages", "selector", "head_weighting", "package")
    missing = [key for key in known if key not in kwargs]
    if missing:
        raise CheckpointError(
            f'{ARCHITECTURE} is made from an exported folder, as timm.create_model("local-dir:FOLDER"); without one '
            f"{', '.join(missing)} are missing."
        )
    model = build(**{key: kwargs[key] for key in known})
    described = pretrained_cfg if isinstance(pretrained_cfg, dict) else getattr(pretrained_cfg, "to_dict", dict)()
    # What timm.data.resolve_data_config and timm.utils read.
    vars(model).update(pretrained_cfg=described, default_cfg=described)
    model.num_classes = model.backbone.num_classes
    if pretrained:
        _load(model, described)
    return model


def _load(model: PrunedModel, described: Mapping[str, Any]) -> None:
    try:
        model.load_state_dict(load_file(Path(described["file"]) / WEIGHTS))
    except (RuntimeError, OSError, KeyError) as error:
        raise CheckpointError(f"The weights of {ARCHITECTURE} cannot be read or do not fit: {error}") from error
