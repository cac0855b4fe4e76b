"""Warm-up: what the selectors are shown, and that they learn it and nothing else moves."""

import numpy as np
import pytest
import torch
from tiny import ARGS

from spvit.attention import lookahead_attentions
from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.schedule import PruningSchedule
from trainers.calibration import calibrate_margins, shift_for
from trainers.config import TrainingConfig
from trainers.warmup import warm_up_selectors


class FixedBatches:
    """The same images for ever, half of each black."""

    num_images = 32
    class_names = ("0",)

    def __init__(self) -> None:
        self.images = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        self.images[:16, :, :4], self.images[16:, :, 4:] = 0, 0

    def num_batches(self) -> int:
        return 1

    def epoch(self, epoch: int):
        yield self.images, torch.zeros(32, dtype=torch.int64)


@pytest.fixture
def model() -> PrunedViT:
    torch.manual_seed(0)
    backbone = create_backbone("vit_tiny_patch16_224", args=ARGS)
    for block in backbone.blocks:  # random weights attend evenly: nothing to learn
        block.attn.qkv.weight.data *= 20
    return PrunedViT(backbone, PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2]))


def rank_correlation(model: PrunedViT, images: torch.Tensor) -> list[float]:
    found = []
    for selector, (tokens, shares) in zip(
        model.selectors.values(), lookahead_attentions(model.backbone, images, [1, 2]).values(), strict=True
    ):
        ranks = [values.detach().argsort(1).argsort(1).float() for values in (selector(tokens, None).margin, shares)]
        found.append(float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)])))
    return found


def test_selectors_learn_to_rank_and_the_backbone_stays(model: PrunedViT):
    batches = FixedBatches()
    backbone = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    before = rank_correlation(model, batches.images)
    warm_up_selectors(model, batches, TrainingConfig(selector_warmup_steps=100, selector_warmup_lr=2e-2))
    after = rank_correlation(model, batches.images)
    assert min(after) > 0.25
    assert min(after) > max(before)
    assert all(torch.equal(tensor, backbone[name]) for name, tensor in model.backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in model.backbone.parameters())


def test_expected_keep_is_what_the_schedule_allows(model: PrunedViT):
    images = FixedBatches().images
    calibrate_margins(model.train(), images)
    assert model.training
    output = model.eval().run(images)
    expected = [selection.keep_fraction.mean().item() for selection in output.selections]
    assert expected == pytest.approx([selection.target_keep_rate for selection in output.selections], abs=1e-4)


def test_calibration_changes_no_decision(model: PrunedViT):
    images = FixedBatches().images
    before = model.eval().run(images).patch_index
    calibrate_margins(model, images)
    assert torch.equal(model.run(images).patch_index, before)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.97])
def test_shift_for_a_keep_rate(rate: float):
    margin = torch.randn(20, 50, generator=torch.Generator().manual_seed(1)) * 3 - 7
    assert torch.sigmoid(margin + shift_for(margin, rate)).mean().item() == pytest.approx(rate, abs=1e-5)


@pytest.mark.parametrize("is_training", [True, False])
def test_backbone_is_in_evaluation_mode_meanwhile(model: PrunedViT, is_training: bool):
    """Batch norms would drift, and dropout would be noise in what selectors are to learn."""
    seen = []
    model.backbone.blocks[0].register_forward_pre_hook(lambda block, _: seen.append(block.training))
    warm_up_selectors(model.train(is_training), FixedBatches(), TrainingConfig(selector_warmup_steps=2))
    assert seen == [False, False]
    assert {module.training for module in model.modules()} == {is_training}
