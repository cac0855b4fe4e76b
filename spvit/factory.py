"""Makes vision transformers whose tokens can be pruned soundly, and loads weights into them."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import timm
from timm.models.pit import PoolingVisionTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from spvit.backbone_weights import load_backbone_weights
from spvit.errors import ConfigError, UnsupportedModelError
from spvit.families import family_of
from spvit.pit_levels import pit_geometry
from spvit.published_weights import create_published
from spvit.schedule import TokenGeometry
from spvit.support import why_unsupported
from spvit.wording import first_line

logger = logging.getLogger(__name__)

ModelArgs = Mapping[str, bool | int | float | str]
OWN_KEYS = {"pretrained": "model.pretrained", "checkpoint_path": "model.checkpoint", "model_name": "model.name"}


def create_backbone(
    name: str,
    *,
    args: ModelArgs = MappingProxyType({}),
    checkpoint: Path | None = None,
    pretrained: bool = False,
) -> VisionTransformer:
    """A timm vision transformer with its weights, on the CPU, in training mode.

    Args:
        name: the model's name in timm, with or without the tag of its published weights, or `lvvit_t`, `lvvit_s`,
            `lvvit_m` (see `spvit.lv_vit`).
        args: further arguments of `timm.create_model`.
        checkpoint: a file of weights (see `spvit.weights.read_weights`); random weights where it is None.
        pretrained: let timm download the weights that are published under this name.

    Raises:
        ConfigError: timm knows no such model, or the model takes no such arguments.
        UnsupportedModelError: the model has no form in which its tokens can be pruned.
        CheckpointError: the weights cannot be had or do not fit.
    """
    if checkpoint is not None and pretrained:
        raise ConfigError("Give model.checkpoint or model.pretrained = true, not both.")
    _check_name(name)
    _check_family(name)
    backbone: Any = _create(name, args)
    _check_supported(backbone, name)
    if pretrained:
        backbone = create_published(name, args, backbone.pretrained_cfg)
    if checkpoint is not None:
        load_backbone_weights(backbone, Path(checkpoint), may_renew_head="num_classes" in args)
    _keep_every_patch(backbone, name)
    return cast("VisionTransformer", backbone)


@singledispatch
def geometry_of(backbone: VisionTransformer) -> TokenGeometry:
    """What decides the token counts of a backbone."""
    return TokenGeometry(
        depth=len(backbone.blocks),
        num_patches=backbone.patch_embed.num_patches,
        num_prefix_tokens=backbone.num_prefix_tokens,
    )


def _check_name(name: str) -> None:
    if timm.is_model(name):
        return
    close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else "`timm.list_models('*vit*')` lists them."
    raise ConfigError(f"model.name was required to be a model of timm, but {name!r} came. {hint}")


def _create(name: str, args: ModelArgs) -> nn.Module:
    for key in OWN_KEYS.keys() & args.keys():
        raise ConfigError(f"model.args must not hold {key!r}: use {OWN_KEYS[key]}.")
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **args)
    except Exception as error:  # timm's models raise whatever their code meets
        raise ConfigError(f"timm cannot make {name} with model.args = {dict(args)}: {first_line(error)}") from error
    return model


def _check_supported(model: nn.Module, name: str) -> None:
    reason = why_unsupported(model)
    if reason:
        raise _unsupported(name, reason)


def _check_family(name: str) -> None:
    family = family_of(name)
    if family and not family.is_supported:
        raise _unsupported(name, family.refusal)


def _unsupported(name: str, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"Token pruning needs a vision transformer that can go on without the tokens it drops, but {name} {reason}. "
        "Models such as deit_small_patch16_224 or vit_base_patch16_224 can be used; `spvit-search backbones` lists all "
        "kinds."
    )


geometry_of.register(PoolingVisionTransformer, pit_geometry)


def _keep_every_patch(backbone: VisionTransformer, name: str) -> None:
    """Replace timm's own patch dropout: it removes patches at random before any selector has seen them."""
    if not isinstance(getattr(backbone, "patch_drop", nn.Identity()), nn.Identity):
        logger.warning("%s: patch_drop_rate is set to 0, because selectors decide which patches are dropped.", name)
        backbone.patch_drop = nn.Identity()
