"""Calibration: the threshold against trying all of them, and counts on images that it has not seen."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import ARGS as SMALL
from torch import Tensor

from spvit.adaptive import AdaptiveViT
from spvit.errors import DataError
from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import SelectorKind
from spvit.schedule import PruningSchedule
from trainers.config import DataConfig, TrainingConfig
from trainers.data import Loading, Split, open_split
from trainers.evaluate import evaluate, evaluate_adaptive
from trainers.plain_images import PlainImages
from trainers.preprocessing import preprocessing_of
from trainers.thresholds import calibrate_thresholds, mean_kept, threshold_for
from trainers.warmup import warm_up_selectors

DEMO = Path(__file__).parents[2] / "experiments" / "fashion_mnist"
ARGS = {"img_size": 28, "patch_size": 4, "in_chans": 1, "embed_dim": 64, "depth": 6, "num_heads": 4, "num_classes": 10}


@given(
    margins=st.lists(
        st.lists(st.integers(-3, 3).map(float) | st.just(-math.inf), min_size=4, max_size=4), min_size=1, max_size=6
    ).filter(lambda rows: all(max(row) > -math.inf for row in rows)),
    num_kept=st.floats(1.0, 4.0),
)
def test_no_threshold_comes_nearer_to_the_target(margins: list[list[float]], num_kept: float):
    """Whatever the ties: all thresholds that differ are tried, below, between and above the margins."""
    batches = list(torch.tensor(margins).split(2))
    found = mean_kept(batches, threshold_for(batches, num_kept=num_kept))
    tried = [mean_kept(batches, threshold / 2) for threshold in range(-8, 9)]
    assert found in tried
    nearest = min(abs(kept - num_kept) for kept in tried)
    assert abs(found - num_kept) == pytest.approx(nearest, abs=1e-9)


def test_without_ties_the_mean_is_the_targets_to_one_token():
    margins = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    for num_kept in (1.0, 1.02, 7.3, 19.98, 20.0):
        found = mean_kept([margins], threshold_for([margins], num_kept=num_kept))
        assert found == pytest.approx(num_kept, abs=0.5 / 50 + 1e-9)


def test_a_threshold_lies_between_margins_not_on_one():
    margins = torch.tensor([[3.0, 1.0, 0.0, -2.0]])
    assert threshold_for([margins], num_kept=2.0) == 0.5


def warmed_up(kind: SelectorKind = SelectorKind.MULTI_HEAD) -> PrunedViT:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    backbone = create_backbone("vit_tiny_patch16_224", args=ARGS, checkpoint=DEMO / "backbone.safetensors")
    model = PrunedViT(backbone, PruningSchedule.from_base_rate(0.7, [1, 2, 4]), selector=kind)
    config = TrainingConfig(selector_warmup_steps=40, batch_size=100)
    data = DataConfig(format="npz", path=DEMO, augmentation="none")
    loading = Loading(batch_size=100, training=True, images_per_epoch=4000)
    warm_up_selectors(model, open_split(data, Split.TRAIN, preprocessing_of(backbone), loading), config)
    return model.eval()


@pytest.mark.parametrize("kind", [SelectorKind.MULTI_HEAD, SelectorKind.CLASS_ATTENTION])
def test_held_out_images_keep_what_was_calibrated(kind: SelectorKind):
    """Within half a point of the schedule's keep rates, and images differ."""
    model = warmed_up(kind)
    preprocessing = preprocessing_of(model.backbone)
    data = DataConfig(format="npz", path=DEMO, augmentation="light")
    train = PlainImages(data, Split.TRAIN, preprocessing, num_images=2000, batch_size=250)
    thresholds = calibrate_thresholds(model, train)
    calibration = thresholds.calibration
    assert calibration is not None
    assert calibration.num_images == 2000
    assert calibration.keep_rates == pytest.approx(calibration.target_keep_rates, abs=1e-4)
    val = open_split(data, Split.VAL, preprocessing, Loading(batch_size=250, training=False))
    evaluation, num_kept = evaluate_adaptive(AdaptiveViT(model, thresholds), val.epoch(0))
    assert (num_kept.mean(0) / 49).tolist() == pytest.approx(list(calibration.target_keep_rates), abs=0.005)
    assert (num_kept.std(0) > 1).all()
    assert evaluation.num_images == len(num_kept) == 2000
    assert evaluation.top1 > evaluate(model, val.epoch(0)).top1 - 5.0


@pytest.fixture
def small() -> PrunedViT:
    torch.manual_seed(0)
    backbone = create_backbone("vit_tiny_patch16_224", args=SMALL)
    for block in backbone.blocks:  # untrained attention is all but uniform
        block.attn.qkv.weight.data *= 5
    return PrunedViT(backbone, PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2]))


@pytest.mark.parametrize("kind", SelectorKind)
def test_calibration_gives_the_targets_of_its_own_images(kind: SelectorKind, small: PrunedViT):
    model = PrunedViT(small.backbone, small.schedule, selector=kind).train()
    images = torch.randn(40, 1, 8, 8)
    shares: list[float] = []
    thresholds = calibrate_thresholds(model, images.split(16), on_stage=shares.append)
    with torch.no_grad():
        found = AdaptiveViT(model.eval(), thresholds).run(images).num_kept.double().mean(0) / 16
    assert thresholds.calibration is not None
    assert found.tolist() == pytest.approx(list(thresholds.calibration.keep_rates))
    assert found.tolist() == pytest.approx([10 / 16, 5 / 16], abs=0.5 / 40 / 16 + 1e-9)
    assert shares == [0.5, 1.0]


def test_targets_can_be_given_and_the_mode_is_put_back(small: PrunedViT):
    thresholds = calibrate_thresholds(small.train(), [torch.randn(40, 1, 8, 8)], keep_rates=[1.0, 1 / 16])
    assert thresholds.calibration is not None
    assert thresholds.calibration.keep_rates == (1.0, 1 / 16)
    assert small.training


def test_a_dense_schedule_has_nothing_to_calibrate(small: PrunedViT):
    assert calibrate_thresholds(PrunedViT(small.backbone, PruningSchedule()), []).values == ()


@pytest.mark.parametrize("images", [[], iter([torch.randn(4, 1, 8, 8)])])
def test_images_that_are_missing_or_used_up_are_an_error(small: PrunedViT, images: Any):
    with pytest.raises(DataError, match="no images to calibrate thresholds on"):
        calibrate_thresholds(small, images)


def test_one_keep_rate_for_each_selection(small: PrunedViT):
    with pytest.raises(ValueError, match=r"2 selections need as many keep rates, but got \[0.5\]"):
        calibrate_thresholds(small, [torch.randn(4, 1, 8, 8)], keep_rates=[0.5])


def test_plain_images_are_a_balanced_draw_without_augmentation(tmp_path: Path):
    labels = np.repeat(np.arange(4), 10)  # in the order of a folder: class after class
    pixels = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    np.savez(tmp_path / "train.npz", images=pixels, labels=labels)
    data = DataConfig(format="npz", path=tmp_path, augmentation="timm", repeated_augmentation=3)
    preprocessing = preprocessing_of(create_backbone("vit_tiny_patch16_224", args=SMALL))

    def drawn(number: int, **options: Any) -> Tensor:
        images = PlainImages(data, Split.TRAIN, preprocessing, num_images=number, batch_size=4, **options)
        again = [torch.cat(list(images)) for _ in range(2)]
        assert torch.equal(*again)
        return (again[0] + 1).mul(127.5).round().long()

    images = drawn(20)
    assert (images == images[:, :, :1, :1]).all()
    numbers = images[:, 0, 0, 0]
    assert len(set(numbers.tolist())) == 20
    assert np.bincount(labels[numbers.numpy()]).tolist() == [5, 5, 5, 5]
    assert not torch.equal(drawn(20, seed=1), images)
    few = PlainImages(data, Split.TRAIN, preprocessing, num_images=48, batch_size=48)
    assert few.stacked().shape == (48, 1, 8, 8)
