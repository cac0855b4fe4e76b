"""What a model says of itself, and what is assumed where it speaks of other channels."""

import pytest

from spvit.factory import create_backbone
from trainers.preprocessing import Preprocessing, preprocessing_of

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 7}


def test_colour_model_is_taken_at_its_word():
    found = preprocessing_of(create_backbone("deit_small_patch16_224", args=SMALL))
    assert found.mean == pytest.approx((0.485, 0.456, 0.406))
    assert found.std == pytest.approx((0.229, 0.224, 0.225))
    assert (found.size, found.num_channels, found.num_classes, found.interpolation) == ((32, 32), 3, 7, "bicubic")


def test_grey_model_is_normalised_to_plus_minus_one():
    found = preprocessing_of(create_backbone("deit_small_patch16_224", args=SMALL | {"in_chans": 1}))
    assert (found.mean, found.std) == ((0.5,), (0.5,))


def test_one_value_for_each_channel():
    with pytest.raises(ValueError, match="each of 3 channels"):
        Preprocessing(
            num_channels=3, height=8, width=8, mean=(0.5,), std=(0.5,),
            crop_pct=1.0, interpolation="bicubic", num_classes=2,
        )  # fmt: skip
