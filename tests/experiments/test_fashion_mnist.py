"""The embedded data keep their promises: sizes, balance, and splits that share no image."""

from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "fashion_mnist"
OF_THE_DEMO = {"train": 8000, "val": 2000, "test": 2000}
SIZES = OF_THE_DEMO | {"holdout": 7800}


def load(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(FOLDER / f"{split}.npz", allow_pickle=False) as data:
        return data["images"], data["labels"], data["source_index"]


@pytest.mark.parametrize(("split", "size"), SIZES.items())
def test_balanced(split: str, size: int) -> None:
    images, labels, _ = load(split)
    assert images.shape == (size, 28, 28)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [size // 10] * 10


def test_no_image_is_in_two_splits() -> None:
    keys = {split: {image.tobytes() for image in load(split)[0]} for split in SIZES}
    assert sum(len(images) for images in keys.values()) == sum(SIZES.values())
    assert len(set.union(*keys.values())) == sum(SIZES.values())


def test_train_and_val_are_numbers_of_the_same_source_split() -> None:
    train, val = load("train")[2], load("val")[2]
    assert not set(train) & set(val)
    assert max(train.max(), val.max()) < 60_000


def test_test_and_holdout_are_other_numbers_of_the_other_source_split() -> None:
    test, holdout = load("test")[2], load("holdout")[2]
    assert not set(test) & set(holdout)
    assert max(test.max(), holdout.max()) < 10_000


def test_small_enough_for_git() -> None:
    assert sum((FOLDER / f"{split}.npz").stat().st_size for split in OF_THE_DEMO) <= 6_000_000
    assert (FOLDER / "holdout.npz").stat().st_size <= 4_000_000
    assert (FOLDER / "backbone.safetensors").stat().st_size <= 4_000_000
