"""Images in no splits: each class is shared between training and validation, and nothing is in both."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from spvit.errors import DataError
from trainers.data import Split, describe_data
from trainers.data_config import DataConfig, DataFormat
from trainers.hold_out import held_out
from trainers.image_source import open_source


def write(folder, counts):
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (4, 4)).save(folder / name / f"{number}.png")


def config(folder, **changes):
    return DataConfig(path=folder, **{"val_share": 0.25} | changes)


@given(st.lists(st.integers(2, 30), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_each_class_gives_its_share_but_never_all_or_none(counts, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    is_val = held_out(labels, share)
    assert (is_val == held_out(labels, share)).all()
    for label, count in enumerate(counts):
        num_val = is_val[labels == label].sum()
        assert 1 <= num_val <= count - 1
        assert abs(num_val - share * count) <= 1.0


@pytest.mark.parametrize("below", ["", "train"])
def test_training_and_validation_share_one_folder_without_overlap(tmp_path, below):
    write(tmp_path / below, {"cat": 8, "dog": 12})
    train, val = (open_source(config(tmp_path), split) for split in (Split.TRAIN, Split.VAL))
    assert len(train.files) + len(val.files) == 20
    assert not {*train.files} & {*val.files}
    assert (np.bincount(val.labels).tolist(), val.class_names) == ([2, 3], ("cat", "dog"))
    assert all(f"/{source.class_names[label]}/" in file
               for source in (train, val) for file, label in zip(source.files, source.labels, strict=True))  # fmt: skip
    summary = describe_data(config(tmp_path))
    assert (summary.train.num_images, summary.val.num_images, summary.num_classes) == (15, 5, 2)


def test_what_cannot_be_shared_is_refused(tmp_path):
    write(tmp_path / "one", {"cat": 1, "dog": 5})
    with pytest.raises(DataError, match=r"cat has one image, and data\.val_share needs two of each class"):
        open_source(config(tmp_path / "one"), Split.VAL)
    write(tmp_path / "two" / "train", {"cat": 2})
    write(tmp_path / "two" / "val", {"cat": 2})
    with pytest.raises(DataError, match=r"leave out data\.val_share"):
        open_source(config(tmp_path / "two"), Split.TRAIN)
    write(tmp_path / "three", {"cat": 2, "test": 2})
    with pytest.raises(DataError, match="a folder `test` beside classes"):
        open_source(config(tmp_path / "three"), Split.TRAIN)
    for changes in ({"format": DataFormat.NPZ}, {"val_split": "val"}):
        with pytest.raises(ValidationError, match=r"val_share is for data\.format = 'folder'"):
            config(tmp_path, **changes)


def test_a_missing_split_names_the_key_that_does_without(tmp_path):
    write(tmp_path, {"cat": 4})
    with pytest.raises(DataError, match=r"train is missing.*data\.val_share = 0\.2 sets a fifth"):
        open_source(DataConfig(path=tmp_path), Split.TRAIN)
