"""Real torchvision classes on files that the test writes: splits, labels and names, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spvit.errors import ConfigError, DataError
from trainers.data import Loading, Split, describe_data, open_split
from trainers.data_config import DataConfig, DataFormat
from trainers.image_source import open_source
from trainers.preprocessing import Preprocessing

GREY = Preprocessing(
    num_channels=1, height=28, width=28, mean=(0.5,), std=(0.5,), crop_pct=1.0, interpolation="bilinear", num_classes=10
)
COLOUR = Preprocessing(
    num_channels=3, height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3,
    crop_pct=1.0, interpolation="bilinear", num_classes=10,
)  # fmt: skip


def idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.fixture
def fashion(tmp_path: Path) -> DataConfig:
    """The format of MNIST and its relatives: 30 training and 20 test images of 10 classes."""
    rng, raw = np.random.default_rng(0), tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 30), ("t10k", 20)):
        idx(raw / f"{prefix}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28), np.uint8))
        idx(raw / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return torchvision(tmp_path, "FashionMNIST")


def torchvision(path: Path, name: str, **more: object) -> DataConfig:
    return DataConfig.model_validate({"format": DataFormat.TORCHVISION, "path": path, "name": name} | more)


def pictures(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (20, 18), (number, 0, 0)).save(folder / f"{number}.jpg")


def country(path: Path) -> DataConfig:
    for split in ("train", "valid", "test"):
        for name in ("AA", "BB"):
            pictures(path / "country211" / split / name)
    return torchvision(path, "Country211")


def test_train_and_val_are_its_train_and_test(fashion: DataConfig):
    summary = describe_data(fashion, num_classes=10)
    assert (summary.train.num_images, summary.val.num_images) == (30, 20)
    assert summary.train.class_names[:2] == ("T-shirt/top", "Trouser")


@pytest.mark.parametrize("name", ["FashionMNIST", "torch/fashion_mnist"])
def test_both_libraries_give_the_images_on_disk(fashion: DataConfig, name: str):
    library = DataFormat.TIMM if "/" in name else DataFormat.TORCHVISION
    config = fashion.model_copy(update={"name": name, "format": library})
    opened = open_split(config, Split.VAL, GREY, Loading(batch_size=8, training=False))
    images, labels = (torch.cat(parts) for parts in zip(*opened.epoch(0), strict=True))
    raw = (fashion.path / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte").read_bytes()[16:]
    expected = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(20, 1, 28, 28) / 255
    assert torch.allclose(images, (expected - 0.5) / 0.5, atol=1e-6)
    assert labels.tolist() == [number % 10 for number in range(20)]


def test_training_is_a_function_of_seed_and_epoch(fashion: DataConfig):
    def epoch(seed: int, number: int) -> torch.Tensor:
        opened = open_split(fashion, Split.TRAIN, GREY, Loading(batch_size=10, training=True, seed=seed))
        return torch.cat([images for images, _ in opened.epoch(number)])

    assert torch.equal(epoch(0, 1), epoch(0, 1))
    assert not torch.equal(epoch(0, 1), epoch(1, 1))
    assert not torch.equal(epoch(0, 1), epoch(0, 2))


def test_validation_is_preferred_to_test_unless_set(tmp_path: Path):
    config = country(tmp_path)
    assert "valid" in open_source(config, Split.VAL).name(0)
    chosen = config.model_copy(update={"val_split": "test"})
    assert "test" in open_source(chosen, Split.VAL).name(0)
    assert describe_data(config).train.class_names == ("AA", "BB")


def test_classes_without_splits_need_a_folder_for_each(tmp_path: Path):
    for split in ("train", "val"):
        pictures(tmp_path / split / "cat")
    assert describe_data(torchvision(tmp_path, "ImageFolder")).num_classes == 1
    with pytest.raises(DataError, match=r"ImageFolder has no splits of its own.*held_out is missing.*'folder'"):
        describe_data(torchvision(tmp_path, "ImageFolder", val_split="held_out"))


def test_damaged_images_are_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = country(tmp_path)
    (tmp_path / "country211" / "valid" / "AA" / "1.jpg").write_bytes(b"no picture")
    opened = open_split(config, Split.VAL, COLOUR, Loading(batch_size=4, training=False))
    assert sum(len(labels) for _, labels in opened.epoch(0)) == 5
    assert "valid/AA/1.jpg" in caplog.text
    strict = open_split(
        config.model_copy(update={"max_damaged": 0}), Split.VAL, COLOUR, Loading(batch_size=4, training=False)
    )
    with pytest.raises(DataError, match=r"max_damaged = 0 .* 1 are: .*AA/1\.jpg"):
        list(strict.epoch(0))


@pytest.mark.parametrize(
    ("name", "more", "error", "text"),
    [
        ("Flower102", {}, ConfigError, "Did you mean Flowers102"),
        ("FakeData", {}, DataError, "has no splits of its own"),
        ("CIFAR10", {}, DataError, r"CIFAR10.*'train' cannot be opened in .*data\.download = true"),
        ("CIFAR10", {"train_split": "extra"}, ConfigError, "'train' or 'test', but 'extra' came"),
        ("CIFAR10", {"args": {"size": 3}}, ConfigError, "but holds size"),
        ("DTD", {"train_split": "extra"}, DataError, "'extra'.*Valid values are"),
        ("PCAM", {}, DataError, "h5py"),
    ],
)
def test_what_cannot_be_opened_says_why(tmp_path: Path, name: str, more: dict[str, object], error: type, text: str):
    with pytest.raises(error, match=text):
        describe_data(torchvision(tmp_path, name, **more))
