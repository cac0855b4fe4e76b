"""Batch transforms against the same thing done image by image."""

import numpy as np
import pytest
import torch

from trainers.augment import LightDraw, MixDraw, draw_light, draw_mix, jitter, mix, normaliser
from trainers.preprocessing import Preprocessing


def naive_jitter(image: torch.Tensor, flip: bool, rows: int, columns: int) -> torch.Tensor:
    _, height, width = image.shape
    mirrored = image.flip(-1) if flip else image
    out = torch.empty_like(image)
    for y in range(height):
        for x in range(width):
            source = min(max(y + rows, 0), height - 1), min(max(x + columns, 0), width - 1)
            out[:, y, x] = mirrored[:, source[0], source[1]]
    return out


def test_jitter_equals_one_image_at_a_time():
    images = torch.randint(0, 256, (9, 3, 5, 7), dtype=torch.uint8)
    draw = draw_light(np.random.default_rng(0), 9, 28)
    assert len(set(draw.flips.tolist())) == 2
    expected = [
        naive_jitter(image, flip, rows, columns)
        for image, flip, (rows, columns) in zip(images, draw.flips.tolist(), draw.shifts.T.tolist(), strict=True)
    ]
    assert torch.equal(jitter(images, draw), torch.stack(expected))


def test_no_flip_no_shift_changes_nothing():
    images = torch.rand(4, 1, 6, 6)
    assert torch.equal(jitter(images, LightDraw(flips=np.zeros(4, bool), shifts=np.zeros((2, 4), np.int64))), images)


def test_normalised_bytes():
    preprocessing = Preprocessing(
        num_channels=2, height=1, width=1, mean=(0.5, 0.2), std=(0.5, 0.1),
        crop_pct=1.0, interpolation="bicubic", num_classes=2,
    )  # fmt: skip
    images = torch.tensor([[[[255]], [[51]]]], dtype=torch.uint8)
    assert normaliser(preprocessing)(images).flatten().tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mixed_targets_weigh_classes_as_the_pixels_do(mixup: float, cutmix: float):
    labels = torch.arange(6)
    images = labels.float().view(6, 1, 1, 1).expand(6, 1, 8, 8)
    classes = torch.arange(6).float()
    for seed in range(20):
        draw = draw_mix(np.random.default_rng(seed), 6, (8, 8), mixup=mixup, cutmix=cutmix)
        mixed, targets = mix(images, labels, draw, num_classes=6)
        assert targets.sum(1).tolist() == pytest.approx([1.0] * 6, abs=1e-5)
        assert mixed.mean((1, 2, 3)).tolist() == pytest.approx((targets @ classes).tolist(), abs=1e-4)


def test_nothing_is_mixed_unless_asked():
    assert draw_mix(np.random.default_rng(0), 4, (8, 8), mixup=0.0, cutmix=0.0) is None
    labels = torch.arange(4)
    assert mix(torch.zeros(4, 1, 2, 2), labels, None, 4)[1] is labels


def test_mix_names_each_partner():
    draw = MixDraw(order=np.array([1, 0]), share=0.25)
    _, targets = mix(torch.zeros(2, 1, 2, 2), torch.tensor([0, 1]), draw, 2)
    assert targets.tolist() == [[0.25, 0.75], [0.75, 0.25]]
