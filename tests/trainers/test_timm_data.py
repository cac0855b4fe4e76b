"""timm's folders, tar files and names: the same images as the plain folder format gives, and what is refused."""

import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from spvit.errors import ConfigError, DataError
from trainers.data import Loading, Split, describe_data, open_split
from trainers.data_config import DataConfig, DataFormat
from trainers.preprocessing import Preprocessing

COLOUR = Preprocessing(
    num_channels=3, height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3,
    crop_pct=1.0, interpolation="bilinear", num_classes=3,
)  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folders `train` and `val` of three classes, and the same as tar files."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(9):
            folder = tmp_path / split / f"class{number % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (9, 10, 3), np.uint8)).save(folder / f"{number}.png")
        with tarfile.open(tmp_path / f"{split}.tar", "w") as tar:
            for path in sorted((tmp_path / split).rglob("*.png")):
                tar.add(path, arcname=str(path.relative_to(tmp_path / split)))
    return tmp_path


def timm(path: Path, name: str = "", **more: object) -> DataConfig:
    return DataConfig.model_validate({"format": DataFormat.TIMM, "path": path, "name": name} | more)


def tensors(config: DataConfig, *, training: bool) -> list[torch.Tensor]:
    opened = open_split(config, Split.TRAIN, COLOUR, Loading(batch_size=4, training=training, seed=1))
    return [tensor for batch in opened.epoch(2) for tensor in batch]


@pytest.mark.parametrize("name", ["", "torch/image_folder"])
@pytest.mark.parametrize("training", [False, True])
def test_a_folder_is_the_same_by_every_way(images: Path, name: str, *, training: bool):
    plain = tensors(DataConfig(path=images), training=training)
    same = tensors(timm(images, name), training=training)
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))
    assert describe_data(timm(images, name)) == describe_data(DataConfig(path=images))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_tar_file_holds_what_its_folder_holds(images: Path, num_workers: int):
    config = timm(images, train_split="train.tar", val_split="val.tar", num_workers=num_workers)
    summary = describe_data(config)
    assert summary.train.class_names == ("class0", "class1", "class2")
    assert summary.val.num_images == 9
    plain = tensors(DataConfig(path=images), training=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, tensors(config, training=True), strict=True))


def test_a_damaged_image_is_left_out_by_name_and_not_replaced(images: Path, caplog: pytest.LogCaptureFixture):
    (images / "train" / "class1" / "4.png").write_bytes(b"no picture")
    found = tensors(timm(images), training=False)
    assert torch.cat(found[1::2]).bincount().tolist() == [3, 2, 3]
    assert "class1/4.png" in caplog.text


def test_a_missing_split_is_not_filled_with_the_whole_folder(images: Path):
    (images / "val").rename(images / "other")
    (images / "val.tar").unlink()
    with pytest.raises(DataError, match=r"val split as one of val, valid, .*set data\.val_split"):
        describe_data(timm(images))
    assert describe_data(timm(images, val_split="other")).val.num_images == 9


def test_classes_of_one_split_only_are_named(images: Path):
    (images / "val" / "class1").rename(images / "val" / "class9")
    with pytest.raises(DataError, match="class9, class1"):
        describe_data(timm(images))


@pytest.mark.parametrize(
    ("name", "more", "error", "text"),
    [
        ("torch/nonsense", {}, DataError, r"'torch/nonsense'.*Unknown torchvision dataset nonsense"),
        ("torch/cifar100", {}, DataError, r"not found.*data\.download = true"),
        ("", {"args": {"root": "elsewhere"}}, ConfigError, r"must not hold root: use data\.name"),
        ("", {"train_split": "absent"}, DataError, "as one of absent, but has none"),
    ],
)
def test_what_cannot_be_opened_says_why(images: Path, name: str, more: dict[str, object], error: type, text: str):
    with pytest.raises(error, match=text):
        describe_data(timm(images, name, **more))


def test_a_missing_package_is_named(images: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, "timm.data.readers.reader_hfds", raising=False)
    with pytest.raises(DataError, match="needs the package 'datasets'"):
        describe_data(timm(images, "hfds/food101"))


@pytest.mark.parametrize("name", ["tfds/cifar10", "wds/imagenet", "HFIDS/food101"])
def test_streams_are_refused_by_the_configuration(tmp_path: Path, name: str):
    with pytest.raises(ValidationError, match=r"is a stream.*hfds/\.\.\.` or|is a stream"):
        timm(tmp_path, name)


def test_hugging_face_data_comes_from_the_disk_unless_it_may_be_downloaded(
    images: Path, tmp_path_factory: pytest.TempPathFactory
):
    (images / "val").rename(images / "validation")
    for tar in images.glob("*.tar"):
        tar.unlink()
    cache = tmp_path_factory.mktemp("cache")
    summary = describe_data(timm(cache, f"hfds/{images}"))
    assert (summary.train.num_images, summary.val.num_images, summary.num_classes) == (9, 9, 3)
    with pytest.raises(DataError, match=r"hfds/food101.*OfflineModeIsEnabled.*data\.download = true"):
        describe_data(timm(cache, "hfds/food101"))
