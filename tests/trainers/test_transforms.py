"""Every setting of [data.transforms] reaches timm, and chance stays out of evaluation."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from spvit.errors import ConfigError
from trainers.data_config import Augmentation, TransformConfig
from trainers.preprocessing import Preprocessing
from trainers.transforms import make_transform, posterize

COLOUR = Preprocessing(
    num_channels=3, height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3,
    crop_pct=0.8, interpolation="bilinear", num_classes=2,
)  # fmt: skip
GREY = replace(COLOUR, num_channels=1, mean=(0.5,), std=(0.5,))
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
STILL = {
    "auto_augment": "", "color_jitter": 0.0, "random_erasing": 0.0, "scale": [1, 1], "ratio": [1, 1], "hflip": 0.0,
}  # fmt: skip


def transformed(augmentation: Augmentation = Augmentation.TIMM, picture: Image.Image = PICTURE, **values: Any):
    model = GREY if picture.mode == "L" else COLOUR
    random.seed(1)  # RandAugment's and augmix's generator
    np.random.seed(0)
    torch.manual_seed(0)
    return make_transform(model, augmentation, TransformConfig.model_validate(values))(picture)


def test_with_everything_off_training_only_resizes():
    whole = make_transform(replace(COLOUR, crop_pct=1.0), Augmentation.NONE, TransformConfig())(PICTURE)
    assert torch.equal(transformed(**STILL), whole)


@pytest.mark.parametrize(
    "change",
    [
        {"hflip": 1.0},
        {"color_jitter": 0.9},
        {"auto_augment": "rand-m9-n2"},
        {"auto_augment": "augmix-m5-w4-d2"},
        {"random_erasing": 1.0},
        {"random_erasing": 1.0, "erasing_mode": "const", "erasing_count": 3},
        {"scale": [0.1, 0.2]},
        {"ratio": [2.0, 2.0]},
        {"interpolation": "nearest"},
    ],
)
def test_each_setting_changes_training_images(change: dict[str, Any]):
    assert not torch.equal(transformed(**STILL), transformed(**(STILL | change)))


@pytest.mark.parametrize("name", ["rand-m10-n4-inc1", "rand-m9-mstd2-n4-inc1", "original-mstd0.5", "augmix-m10-w2-d2"])
def test_no_draw_of_an_augmentation_ends_a_training(name: str):
    """At magnitude 10 timm posterises to no bits, which Pillow refuses since version 13."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    transform = make_transform(COLOUR, Augmentation.TIMM, TransformConfig(auto_augment=name))
    assert all(torch.isfinite(transform(PICTURE)).all() for _ in range(150))


@pytest.mark.parametrize("num_bits", range(9))
def test_posterising_keeps_the_highest_bits(num_bits: int):
    kept = np.asarray(posterize(PICTURE, num_bits))
    assert (kept == np.asarray(PICTURE) & (0xFF00 >> num_bits & 0xFF)).all()


def test_mirroring_mirrors():
    assert torch.equal(transformed(**STILL).flip(-1), transformed(**(STILL | {"hflip": 1.0})))


def test_evaluation_takes_crop_and_interpolation_but_no_chance():
    def evaluated(**values: Any):
        return transformed(Augmentation.NONE, **values)

    assert torch.equal(evaluated(), evaluated(interpolation="random", hflip=1.0, random_erasing=1.0))
    assert not torch.equal(evaluated(), evaluated(interpolation="nearest"))
    assert not torch.equal(evaluated(), evaluated(crop_pct=1.0))


def test_grey_images_are_spared_what_needs_colour():
    grey = PICTURE.convert("L")
    still = STILL | {"auto_augment": "rand-m9-n2", "color_jitter": 0.9}
    assert torch.equal(transformed(picture=grey, **STILL), transformed(picture=grey, **still))


@pytest.mark.parametrize("text", ["nonsense", "rand-q9", "augmix-z3"])
def test_what_timm_cannot_read_names_the_key(text: str):
    with pytest.raises(ConfigError, match=rf"data\.transforms\.auto_augment was required.*'{text}' came"):
        transformed(auto_augment=text)
