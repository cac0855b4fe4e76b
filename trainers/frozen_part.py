"""What comes before the first selector: pruning cannot reach it, so it may stay as it is, for student and teacher."""

from __future__ import annotations

from torch import nn

from spvit.pruned_model import PrunedModel

BARE_MODULES = ("pos_drop", "patch_drop")
"""Modules of timm's stems that have no parameters by which to tell where they belong."""


def leading_modules(model: PrunedModel) -> list[nn.Module]:
    """The backbone's modules before the first selector: the embedding and the blocks that see all tokens."""
    leading = {id(parameter) for parameter in model.leading_parameters()}
    bare = [getattr(model.backbone, name) for name in BARE_MODULES if hasattr(model.backbone, name)]
    return bare + [module for module in model.backbone.modules() if _consists_of(module, leading)]


def is_leading_frozen(model: PrunedModel) -> bool:
    """Whether nothing before the first selector learns now: then its tokens need no gradient."""
    return not any(parameter.requires_grad for parameter in model.leading_parameters())


def hold_frozen_still(model: PrunedModel) -> None:
    """Put the frozen part into evaluation mode: no dropout, no dropped paths, no batch statistics that drift."""
    if not any(parameter.requires_grad for parameter in model.backbone_parameters()):
        model.backbone.eval()
    elif is_leading_frozen(model):
        for module in leading_modules(model):
            module.eval()


def _consists_of(module: nn.Module, parameters: set[int]) -> bool:
    own = {id(parameter) for parameter in module.parameters()}
    return bool(own) and own <= parameters
