"""Every parameter that is ever trained is in one group, at its own rate and decay."""

from itertools import chain

import pytest
import torch

from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import SelectorKind
from spvit.schedule import PruningSchedule
from trainers.config import TrainingConfig
from trainers.optim import make_optimizer, set_frozen, set_learning_rate, trainable

ARGS = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 4}


@pytest.fixture
def model() -> PrunedViT:
    return PrunedViT(
        create_backbone("vit_tiny_patch16_224", args=ARGS), PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2])
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"freeze_leading": False}, {"backbone_lr_scale": 0.0}, {"freeze_epochs": 0, "freeze_leading": False}],
)
def test_groups_hold_what_some_epoch_trains_once(model: PrunedViT, changes: dict[str, object]) -> None:
    config = TrainingConfig(**changes)
    grouped = [id(p) for group in make_optimizer(model, config).param_groups for p in group["params"]]
    trained = set()
    for epoch in (0, config.freeze_epochs):
        set_frozen(model, config, epoch=epoch)
        trained |= {id(p) for p in trainable(model)}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == trained


def test_rates_and_decays(model: PrunedViT) -> None:
    config = TrainingConfig(freeze_leading=False, adam_betas=(0.8, 0.9), adam_epsilon=1e-6)
    optimizer = make_optimizer(model, config)
    set_learning_rate(optimizer, 2e-3)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"], group["betas"], group["eps"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    adam = ((0.8, 0.9), 1e-6)
    assert found["backbone.blocks.1.attn.qkv.weight"] == (2e-5, 0.05, *adam)
    bare = ("blocks.1.attn.qkv.bias", "blocks.1.norm1.weight", "cls_token", "pos_embed")
    assert {found[f"backbone.{name}"] for name in bare} == {(2e-5, 0.0, *adam)}
    selectors = [value for name, value in found.items() if name.startswith("selectors.")]
    assert set(selectors) == {(2e-3, 0.05, *adam)}


def test_frozen_epochs_leave_the_backbone_without_gradients(model: PrunedViT) -> None:
    config = TrainingConfig(freeze_epochs=2)
    for epoch, trains in ((0, False), (1, False), (2, True)):
        set_frozen(model, config, epoch=epoch)
        assert model.backbone.head.weight.requires_grad is trains
        assert not any(p.requires_grad for p in model.leading_parameters())
        assert all(p.requires_grad for p in model.selector_parameters())


def test_dense_model_is_not_frozen() -> None:
    dense = PrunedViT(create_backbone("vit_tiny_patch16_224", args=ARGS), PruningSchedule())
    set_frozen(dense, TrainingConfig(freeze_epochs=9), epoch=0)
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in chain(dense.backbone_parameters()))


@pytest.mark.parametrize("is_fixed", [True, False])
def test_leading_part_is_fixed_before_selectors_that_learn_nothing_too(is_fixed: bool) -> None:
    schedule = PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2])
    backbone = create_backbone("vit_tiny_patch16_224", args=ARGS)
    model = PrunedViT(backbone, schedule, selector=SelectorKind.CLASS_ATTENTION)
    config = TrainingConfig(freeze_epochs=9, freeze_leading=is_fixed)
    set_frozen(model, config, epoch=0)
    leading = {id(p) for p in model.leading_parameters()} if is_fixed else set()
    expected = {id(p) for p in model.backbone_parameters()} - leading
    assert {id(p) for p in trainable(model)} == expected
    assert {id(p) for group in make_optimizer(model, config).param_groups for p in group["params"]} == expected
