"""Labels are found wherever a dataset keeps them, and believed only where they are what it gives."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import FakeData

from spvit.errors import DataError
from trainers.vision_source import VisionSource


class Kept:
    """Five images whose labels are 0, 1, 0, 1, 0."""

    def __init__(self, **attributes: Any) -> None:
        self.reads = 0
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> tuple[Image.Image, Any]:
        self.reads += 1
        return Image.new("L", (4, 4)), number % 2


LABELS = [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    "attributes",
    [{"targets": LABELS}, {"_labels": np.array(LABELS)}, {"samples": [(f"{n}.png", n % 2) for n in range(5)]}],
)
def test_kept_labels_are_used_without_reading_every_image(attributes: dict[str, Any]):
    dataset = Kept(**attributes)
    assert VisionSource.of(dataset, "kept").labels.tolist() == LABELS
    assert dataset.reads == 3


@pytest.mark.parametrize("attributes", [{}, {"targets": [1, 1, 1, 1, 1]}, {"labels": [[0, 1]] * 5}])
def test_without_a_list_to_believe_every_image_is_asked(attributes: dict[str, Any]):
    assert VisionSource.of(Kept(**attributes), "kept").labels.tolist() == LABELS


def test_a_real_dataset_that_keeps_no_labels():
    source = VisionSource.of(FakeData(size=6, image_size=(3, 4, 5), num_classes=3), "fake")
    assert source.labels.tolist() == [
        int(FakeData(size=6, image_size=(3, 4, 5), num_classes=3)[n][1]) for n in range(6)
    ]
    assert source.load(0).size == (5, 4)


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        ({"class_to_idx": {"b": 0, "a": 1}}, ("b", "a")),
        ({"classes": ["x", "y", "z"]}, ("x", "y", "z")),
        ({"classes": [("dog", "hound"), ("cat",)]}, ("dog, hound", "cat")),
        ({"classes": ["x"]}, ("0", "1")),
    ],
)
def test_class_names_cover_every_label(attributes: dict[str, Any], names: tuple[str, ...]):
    assert VisionSource.of(Kept(targets=LABELS, **attributes), "kept").class_names == names


@pytest.mark.parametrize("target", [(1, 2), "cat", 0.5])
def test_targets_that_are_no_classes_are_refused(target: Any):
    class Odd(Kept):
        def __getitem__(self, number: int) -> tuple[Image.Image, Any]:
            return Image.new("L", (4, 4)), target

    with pytest.raises(DataError, match="one class number per image"):
        VisionSource.of(Odd(), "odd")


def test_unlabelled_images_are_refused():
    class Unlabelled(Kept):
        def __getitem__(self, number: int) -> tuple[Image.Image, Any]:
            return Image.new("L", (4, 4)), -1

    with pytest.raises(DataError, match="without a class"):
        VisionSource.of(Unlabelled(), "unlabelled")
