"""Both formats: what is refused, and that an epoch's batches depend on seed and epoch alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spvit.errors import DataError
from trainers.config import Augmentation, DataConfig, DataFormat
from trainers.data import Loading, Split, describe_data, open_split
from trainers.preprocessing import Preprocessing

SIZE, CLASSES = 8, 3
GREY = Preprocessing(
    num_channels=1, height=SIZE, width=SIZE, mean=(0.5,), std=(0.5,),
    crop_pct=1.0, interpolation="bilinear", num_classes=CLASSES,
)  # fmt: skip


def npz(path: Path, **arrays: object) -> None:
    rng = np.random.default_rng(0)
    defaults = {"images": rng.integers(0, 256, (12, SIZE, SIZE), np.uint8), "labels": np.arange(12) % CLASSES}
    np.savez(path, **(defaults | arrays))


@pytest.fixture
def npz_data(tmp_path: Path) -> DataConfig:
    for split in ("train", "val"):
        npz(tmp_path / f"{split}.npz")
    return DataConfig(format=DataFormat.NPZ, path=tmp_path, augmentation=Augmentation.LIGHT)


@pytest.fixture
def folder_data(tmp_path: Path) -> DataConfig:
    rng = np.random.default_rng(0)
    for number in range(12):
        for split in ("train", "val"):
            folder = tmp_path / split / f"class{number % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (10, 12), np.uint8)).save(folder / f"{number:02d}.png")
    return DataConfig(format=DataFormat.FOLDER, path=tmp_path, augmentation=Augmentation.TIMM)


@pytest.fixture(params=["npz_data", "folder_data"])
def data(request: pytest.FixtureRequest) -> DataConfig:
    config: DataConfig = request.getfixturevalue(request.param)
    return config


def batches(config: DataConfig, epoch: int, *, seed: int = 0, training: bool = True) -> list[torch.Tensor]:
    opened = open_split(config, Split.TRAIN, GREY, Loading(batch_size=5, training=training, seed=seed))
    assert opened.num_images == 12
    found = list(opened.epoch(epoch))
    assert len(found) == opened.num_batches()
    return [tensor for batch in found for tensor in batch]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_epochs_are_functions_of_seed_and_epoch(data: DataConfig):
    first = batches(data, 3)
    assert first[0].shape == (5, 1, SIZE, SIZE)
    assert first[0].dtype == torch.float32
    torch.manual_seed(99)
    assert same(first, batches(data, 3))
    assert not same(first, batches(data, 4))
    assert not same(first, batches(data, 3, seed=1))


def test_evaluation_shows_every_image_once_unchanged(data: DataConfig):
    found = batches(data, 0, training=False)
    assert [len(labels) for labels in found[1::2]] == [5, 5, 2]
    assert torch.cat(found[1::2]).bincount().tolist() == [4, 4, 4]
    assert same(found, batches(data, 1, seed=5, training=False))


@pytest.mark.parametrize("training", [True, False])
def test_some_batches_are_those_of_the_whole_epoch(data: DataConfig, training: bool):
    opened = open_split(data, Split.TRAIN, GREY, Loading(batch_size=4, training=training))
    whole, some = list(opened.epoch(2)), list(opened.epoch(2, only={2, 0}))
    assert len(whole) == 3
    assert same([*whole[0], *whole[2]], [tensor for batch in some for tensor in batch])


def test_batches_that_nobody_asked_for_are_not_read(folder_data: DataConfig):
    opened = open_split(folder_data, Split.VAL, GREY, Loading(batch_size=4, training=False))
    for image in sorted((folder_data.path / "val").rglob("*.png")):
        image.unlink()
    assert list(opened.epoch(0, only=())) == []


def test_loading_leaves_the_generators_alone(data: DataConfig):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    batches(data, 0)
    assert torch.equal(torch.rand(1), expected)


def test_images_in_worker_processes_are_the_same(folder_data: DataConfig):
    assert same(batches(folder_data, 2), batches(folder_data.model_copy(update={"num_workers": 2}), 2))


def test_description_counts_without_opening(data: DataConfig):
    summary = describe_data(data, num_classes=CLASSES)
    assert (summary.train.num_images, summary.val.num_images, summary.num_classes) == (12, 12, CLASSES)


def test_too_few_outputs_are_refused_by_both(data: DataConfig):
    with pytest.raises(DataError, match=r"3 classes, but the model has 2 outputs.*num_classes = 3"):
        describe_data(data, num_classes=2)


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_split_is_named(npz_data: DataConfig, split: str):
    (npz_data.path / f"{split}.npz").unlink()
    with pytest.raises(DataError, match=rf"{split}\.npz is missing"):
        describe_data(npz_data)


def test_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"data\.path must be a folder.*absent"):
        describe_data(DataConfig(format=DataFormat.NPZ, path=tmp_path / "absent"))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"images": np.zeros((12, SIZE, SIZE))}, "`images` must be uint8.*float64"),
        ({"images": np.zeros((11, SIZE, SIZE), np.uint8)}, "every image needs one label.*11 and 12"),
        ({"images": np.zeros((12, 9, 9), np.uint8)}, r"takes images of \(8, 8, 1\).*\(9, 9, 1\)"),
        ({"images": np.zeros((12, SIZE, SIZE, 3), np.uint8)}, r"\(8, 8, 3\).*in_chans"),
        ({"labels": np.zeros(12)}, "`labels` must be whole numbers.*float64"),
        ({"labels": np.arange(12) - 1}, "0 or more.*-1"),
        ({"labels": np.arange(12)}, "12 classes, but the model has 3 outputs"),
        ({"labels": np.array([object()] * 12)}, "plain arrays"),
        ({"images": np.zeros((0, SIZE, SIZE), np.uint8), "labels": np.zeros(0, np.int64)}, "holds no images"),
    ],
)
def test_unfit_arrays_are_refused(npz_data: DataConfig, arrays: dict[str, np.ndarray], text: str):
    npz(npz_data.path / "train.npz", **arrays)
    with pytest.raises(DataError, match=text):
        open_split(npz_data, Split.TRAIN, GREY, Loading(batch_size=5, training=True))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_file_is_refused(npz_data: DataConfig, share: float):
    path = npz_data.path / "train.npz"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"train\.npz is damaged"):
        describe_data(npz_data)


def test_unknown_keys_are_listed(npz_data: DataConfig):
    np.savez(npz_data.path / "train.npz", x=np.zeros(3), y=np.zeros(3))
    with pytest.raises(DataError, match="must hold `images` and `labels`, but it holds: x, y"):
        describe_data(npz_data)


def test_npz_images_with_timms_augmentation_are_those_of_the_same_files(folder_data: DataConfig, tmp_path: Path):
    files = sorted((folder_data.path / "train").rglob("*.png"))
    for split in ("train", "val"):
        images = np.stack([np.asarray(Image.open(file)) for file in files])
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.repeat(np.arange(CLASSES), 4))
    assert same(batches(folder_data, 1), batches(DataConfig(format=DataFormat.NPZ, path=tmp_path), 1))


def test_timms_augmentation_needs_pictures(npz_data: DataConfig):
    npz(npz_data.path / "train.npz", images=np.zeros((12, SIZE, SIZE, 2), np.uint8))
    config = npz_data.model_copy(update={"augmentation": Augmentation.TIMM})
    with pytest.raises(DataError, match=r"1 or 3 channels, but these have 2.*'light' or 'none'"):
        open_split(config, Split.TRAIN, GREY, Loading(batch_size=5, training=True))


def test_repetitions_of_an_image_differ_and_keep_the_epochs_length(data: DataConfig):
    config = data.model_copy(update={"repeated_augmentation": 3})
    found = batches(config, 0)
    assert sum(len(labels) for labels in found[1::2]) == 10
    images, labels = torch.cat(found[::2]), torch.cat(found[1::2])
    assert (labels[:9].view(3, 3) == labels[:9].view(3, 3)[:, :1]).all()
    assert len({tuple(image.flatten().tolist()) for image in images[:9]}) > 3
    assert same(found, batches(config, 0))


@pytest.mark.parametrize("split", ["train", "val"])
def test_splits_may_have_other_names(data: DataConfig, split: str):
    suffix = ".npz" if data.format is DataFormat.NPZ else ""
    (data.path / f"{split}{suffix}").rename(data.path / f"other{suffix}")
    assert describe_data(data.model_copy(update={f"{split}_split": "other"})).num_classes == CLASSES


def test_folders_that_may_not_be_read_are_named(folder_data: DataConfig):
    closed = folder_data.path / "train" / "class1"
    closed.chmod(0)
    with unprivileged(folder_data.path), pytest.raises(DataError, match=r"class1 cannot be read: Permission denied"):
        describe_data(folder_data)
    closed.chmod(0o755)


@contextmanager
def unprivileged(path: Path) -> Iterator[None]:
    """Root may read everything, so that a test that runs as root must become somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    parents = [path, *path.parents]
    modes = [parent.stat().st_mode for parent in parents]
    for parent, mode in zip(parents, modes, strict=True):
        parent.chmod(mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent, mode in zip(parents, modes, strict=True):
            parent.chmod(mode)


def test_fewer_images_than_classes_are_refused(npz_data: DataConfig):
    npz(npz_data.path / "train.npz", labels=np.array([*range(11), 40]))
    with pytest.raises(DataError, match="each of the 41 classes, but there are 12 images"):
        describe_data(npz_data)


def test_fewer_images_than_workers_are_refused(data: DataConfig):
    with pytest.raises(DataError, match="13 workers need at least one training image each, but there are 12"):
        open_split(data, Split.TRAIN, GREY, Loading(batch_size=1, training=True, world_size=13))


def test_fewer_images_than_a_batch_are_told_of(data: DataConfig, caplog: pytest.LogCaptureFixture):
    describe_data(data, batch_size=12)
    assert not caplog.text
    describe_data(data, batch_size=13)
    assert "12 training images make no batch of training.batch_size = 13" in caplog.text


def test_classes_of_one_split_only_are_named(folder_data: DataConfig):
    (folder_data.path / "val" / "class1").rename(folder_data.path / "val" / "class9")
    with pytest.raises(DataError, match="class9, class1"):
        describe_data(folder_data)


def test_empty_class_is_named(folder_data: DataConfig):
    for file in (folder_data.path / "val" / "class1").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="class1 holds no images"):
        describe_data(folder_data)


def test_damaged_images_are_left_out_by_name_up_to_a_limit(folder_data: DataConfig, caplog: pytest.LogCaptureFixture):
    whole = (folder_data.path / "train" / "class0" / "00.png").read_bytes()
    (folder_data.path / "train" / "class0" / "00.png").write_bytes(b"")
    (folder_data.path / "train" / "class1" / "01.png").write_bytes(whole[: len(whole) // 2])
    found = batches(folder_data, 0, training=False)
    assert sum(len(labels) for labels in found[1::2]) == 10
    assert "00.png" in caplog.text
    assert "01.png" in caplog.text
    with pytest.raises(DataError, match=r"max_damaged = 1 .* 2 are: .*00\.png, .*01\.png"):
        batches(folder_data.model_copy(update={"max_damaged": 1}), 0, training=False)


def test_damaged_images_leave_training_batches_of_full_size(folder_data: DataConfig):
    """Workers whose images are good wait for as many steps and parts from the others."""
    whole = batches(folder_data, 0)
    for number in (0, 3, 6, 9):
        (folder_data.path / "train" / "class0" / f"{number:02d}.png").write_bytes(b"")
    found = batches(folder_data, 0)
    assert [len(labels) for labels in found[1::2]] == [len(labels) for labels in whole[1::2]] == [5, 5]
    for expected, images, labels in zip(whole[::2], found[::2], found[1::2], strict=True):
        shown = {image.numpy().tobytes() for image in images}
        assert shown <= {image.numpy().tobytes() for image in expected}
        assert 0 not in labels


def test_a_batch_of_damaged_images_alone_shows_the_next_ones(folder_data: DataConfig):
    loading = Loading(batch_size=4, training=True, seed=3)
    order = loading.order(np.arange(12) // 4, 0, num_repeats=0)  # files are numbered class by class
    files = sorted((folder_data.path / "train").rglob("*.png"))
    for number in order[4:8]:
        files[number].write_bytes(b"")
    found = list(open_split(folder_data, Split.TRAIN, GREY, loading).epoch(0))
    assert [len(labels) for _, labels in found] == [4, 4, 4]
    assert torch.equal(found[1][0], found[2][0])
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"none that worker 0 shows in epoch 1 can be decoded"):
        next(iter(open_split(folder_data, Split.TRAIN, GREY, loading).epoch(0)))


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "P", "I;16"])
def test_every_kind_of_picture_becomes_what_the_model_takes(folder_data: DataConfig, mode: str):
    path = folder_data.path / "train" / "class0" / "00.png"
    suffix = ".jpg" if mode == "CMYK" else ".png"
    path.unlink()
    Image.new(mode, (20, 9)).save(path.with_suffix(suffix))
    assert batches(folder_data, 0, training=False)[0].shape == (5, 1, SIZE, SIZE)


def test_tiny_training_split_still_gives_a_batch(npz_data: DataConfig):
    opened = open_split(npz_data, Split.TRAIN, GREY, Loading(batch_size=50, training=True))
    assert [len(labels) for _, labels in opened.epoch(0)] == [12]
