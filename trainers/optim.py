"""AdamW over selectors and backbone, each at its own rate, and what is frozen when."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW

from spvit.pruned_model import PrunedModel
from trainers.config import TrainingConfig

Groups = list[dict[str, object]]


def make_optimizer(model: PrunedModel, config: TrainingConfig) -> AdamW:
    """One group for selectors and two for the backbone: no decay for biases, norms, class token and positions.

    Parameters that are never trained belong to no group.
    """
    groups: Groups = [_group(model.selector_parameters(), 1.0, config.weight_decay)]
    fixed = {id(p) for p in model.leading_parameters()} if is_leading_fixed(model, config) else set()
    backbone = [(name, p) for name, p in model.backbone.named_parameters() if id(p) not in fixed]
    if config.backbone_lr_scale > 0:
        bare = set(model.backbone.no_weight_decay())
        decayed = [p for name, p in backbone if p.ndim > 1 and name not in bare]
        undecayed = [p for name, p in backbone if p.ndim <= 1 or name in bare]
        groups += [_group(decayed, config.backbone_lr_scale, config.weight_decay)]
        groups += [_group(undecayed, config.backbone_lr_scale, 0.0)]
    groups = [group for group in groups if group["params"]]
    groups = groups or [_group(model.parameters(), 0.0, 0.0)]
    return AdamW(groups, lr=config.lr, betas=config.adam_betas, eps=config.adam_epsilon, fused=True)


def set_learning_rate(optimizer: AdamW, lr: float) -> None:
    """Give every group its share of the selectors' rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def set_frozen(model: PrunedModel, config: TrainingConfig, *, epoch: int) -> None:
    """Decide which parameters learn in an epoch (0-based); the others get no gradient at all, which saves its cost.

    Where no selector learns (there is none, or they go by class attention), frozen epochs would train nothing: there
    `freeze_epochs` does not apply.
    """
    is_past_freeze = epoch >= config.freeze_epochs or not model.has_learned_selectors
    thawed = config.backbone_lr_scale > 0 and is_past_freeze
    _require_grad(model.backbone_parameters(), thawed)
    if is_leading_fixed(model, config):
        _require_grad(model.leading_parameters(), False)
    _require_grad(model.selector_parameters(), True)


def is_leading_fixed(model: PrunedModel, config: TrainingConfig) -> bool:
    """Whether what comes before the first selector is never trained."""
    return config.freeze_leading and bool(model.plan.selections)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn now."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def clip(parameters: list[nn.Parameter], max_norm: float | None) -> None:
    """Scale gradients down to a common norm."""
    if max_norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)


def _group(parameters: Iterable[nn.Parameter], lr_scale: float, weight_decay: float) -> dict[str, object]:
    return {"params": list(parameters), "lr_scale": lr_scale, "weight_decay": weight_decay}


def _require_grad(parameters: Iterable[nn.Parameter], required: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(required)
