"""Loads a checkpoint into a timm vision transformer: everything must fit, except a classifier for other classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from timm.models.pit import PoolingVisionTransformer
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from spvit import lv_vit
from spvit.errors import CheckpointError
from spvit.lv_vit import LVViT
from spvit.pit_levels import pit_weights
from spvit.selector_weights import split_selectors
from spvit.weights import read_weights
from spvit.wording import some_names

logger = logging.getLogger(__name__)

HEADS = ("head.", "head_dist.", "aux_head.")


def load_backbone_weights(backbone: VisionTransformer, path: Path, *, may_renew_head: bool) -> None:
    """Load `path` into `backbone`, in place; position embeddings are resampled to its image size.

    Selectors that the file may hold are left out (see `spvit.selector_weights`).

    Args:
        backbone: a model that `create_backbone` made.
        path: the checkpoint.
        may_renew_head: whether a classifier for another number of classes may be left as it was initialised.

    Raises:
        CheckpointError: the file is unreadable or belongs to another model.
    """
    weights, selectors = split_selectors(read_weights(path))
    if selectors:
        logger.info("%s holds %d token selectors, which are not part of the backbone.", path, len(selectors))
    weights = _in_timms_names(weights, backbone, path)
    weights = _fit_head(weights, backbone, path, may_renew_head=may_renew_head)
    _check_fit(weights, backbone, path)
    backbone.load_state_dict(weights, strict=False)


def num_stored_classes(path: Path) -> int:
    """Outputs of the classifier in a checkpoint, 0 where it has none.

    Raises:
        CheckpointError: the file is unreadable.
    """
    return _num_classes(read_weights(path))


def _in_timms_names(weights: Mapping[str, Tensor], backbone: VisionTransformer, path: Path) -> dict[str, Tensor]:
    try:
        if isinstance(backbone, LVViT):
            return lv_vit.in_own_names(weights, backbone)
        if isinstance(backbone, PoolingVisionTransformer):
            return pit_weights(weights, backbone)
        return dict(checkpoint_filter_fn(dict(weights), backbone, adapt_layer_scale=True))
    except Exception as error:  # the filter indexes and reshapes whatever it is given
        raise CheckpointError(f"{path} does not belong to this model ({type(error).__name__}: {error}).") from error


def _fit_head(
    weights: dict[str, Tensor], backbone: VisionTransformer, path: Path, *, may_renew_head: bool
) -> dict[str, Tensor]:
    num_stored = _num_classes(weights)
    if num_stored == backbone.num_classes:
        return weights
    if not may_renew_head:
        raise CheckpointError(
            f"{path} was required to hold a classifier for {backbone.num_classes} classes, but holds "
            f"{f'one for {num_stored}' if num_stored else 'none'}. Set model.args.num_classes to your data's number: "
            "a number other than the checkpoint's starts with a fresh classifier."
        )
    logger.warning(
        "%s: its classifier is for %d classes, not %d; a fresh one is used and must be trained.",
        path,
        num_stored,
        backbone.num_classes,
    )
    kept = {name: value for name, value in weights.items() if not name.startswith(HEADS)}
    fresh = {name: value for name, value in backbone.state_dict().items() if name.startswith(HEADS)}
    return kept | fresh


def _num_classes(weights: Mapping[str, Tensor]) -> int:
    return len(weights["head.weight"]) if "head.weight" in weights else 0


def _check_fit(weights: Mapping[str, Tensor], backbone: VisionTransformer, path: Path) -> None:
    wanted = backbone.state_dict()
    missing, foreign = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    if missing or foreign:
        raise CheckpointError(
            f"{path} does not belong to this model: it lacks {some_names(missing)} and holds {some_names(foreign)}, "
            "which the model does not have. Check model.name and model.args."
        )
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path} does not belong to this model: {name} was required to have the shape "
                f"{tuple(wanted[name].shape)}, but has {tuple(value.shape)}. Check model.name and model.args."
            )
