"""Data sets by timm's names: folders and tar files, `torch/...`, `hfds/...`. Images are reached by number only."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.data import ImageDataset, create_dataset
from torch.utils.data import IterableDataset

from spvit.errors import ConfigError, DataError
from trainers.data_config import DataConfig
from trainers.data_split import Split
from trainers.image_source import wanted_split
from trainers.library_errors import opening
from trainers.npz_file import number_names
from trainers.offline import hugging_face_offline
from trainers.sampling import Numbers
from trainers.vision_source import VisionSource, class_names_of

OWN_SPLITS = {Split.TRAIN: "train", Split.VAL: "validation", Split.TEST: "test"}
# What timm takes for the same split in a folder, and a tar file of the split.
FOLDER_NAMES = {
    Split.TRAIN: ("train", "training", "train.tar"),
    Split.VAL: ("val", "valid", "validation", "eval", "evaluation", "val.tar", "validation.tar"),
    Split.TEST: ("test", "test.tar"),
}
OWN_ARGUMENTS = frozenset({"name", "root", "split", "search_split", "download", "input_img_mode"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderSource:
    """See `trainers.image_source.ImageSource`.

    Reads from timm's reader: timm's dataset puts another image, unasked, in the place of a damaged one.
    """

    title: str
    reader: Any
    labels: Numbers
    class_names: tuple[str, ...]
    has_class_names: bool

    def name(self, number: int) -> str:
        """The image's file where the reader knows it, else its number."""
        return f"{self.title}: {self.reader.filename(number) or number}"

    def load(self, number: int) -> Image.Image:
        """Decode an image."""
        stream, _ = self.reader[number]
        with stream, Image.open(stream) as image:
            image.load()
            return image


def open_timm(config: DataConfig, split: Split) -> ReaderSource | VisionSource:
    """Open a split of a data set.

    Raises:
        ConfigError: the data set is a stream, or `data.args` says what other keys are for.
        DataError: the data or a package is missing, or there are no classes.
    """
    name = wanted_split(config, split) or OWN_SPLITS[split]
    _check_arguments(config)
    with opening(config, name):
        dataset = _create(config, split, name)
        title = f"{config.name or config.path} ({name})"
        if isinstance(dataset, IterableDataset):
            raise ConfigError(
                f"data.name = {config.name!r} is a stream, but every image must be reachable by its number. "
                "Write the images to folders (data.format = 'folder')."
            )
        return (
            _of_reader(dataset.reader, title) if isinstance(dataset, ImageDataset) else VisionSource.of(dataset, title)
        )


def _create(config: DataConfig, split: Split, name: str) -> Any:
    root = _folder_of(config, split) if _is_folder(config.name) else config.path
    is_hugging_face = config.name.lower().startswith("hfds/")
    if is_hugging_face and find_spec("datasets") is None:  # timm would print to stdout before it raises
        raise ModuleNotFoundError(name="datasets")
    with hugging_face_offline(offline=is_hugging_face and not config.download):
        return create_dataset(
            config.name,
            root=str(root),
            split=name,
            search_split=False,
            download=config.download,
            **config.args,
        )


def _is_folder(name: str) -> bool:
    prefix, _, rest = name.lower().partition("/")
    return prefix not in {"torch", "hfds"} or (prefix == "torch" and rest in {"folder", "image_folder"})


def _folder_of(config: DataConfig, split: Split) -> Path:
    """Where a split is; timm would take the whole folder, all splits together, for one that it does not find."""
    wanted = wanted_split(config, split)
    names = (wanted,) if wanted else FOLDER_NAMES[split]
    for name in names:
        if (config.path / name).exists():
            return config.path / name
    raise DataError(
        f"{config.path} was required to hold the {split} split as one of {', '.join(names)}, but has none of them. "
        f"Add it or set data.{split}_split."
    )


def _check_arguments(config: DataConfig) -> None:
    if wrong := sorted(config.args.keys() & OWN_ARGUMENTS):
        raise ConfigError(
            f"data.args must not hold {', '.join(wrong)}: use data.name, data.path, data.train_split, data.val_split "
            "and data.download."
        )


def _of_reader(reader: Any, title: str) -> ReaderSource:
    labels = np.asarray(_targets(reader))
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise DataError(f"{title} was required to give one class number per image, but its labels are {labels.dtype}.")
    if not len(labels):
        raise DataError(f"{title} holds no images.")
    names = class_names_of(reader, labels) or _names_in_tar(reader)
    return ReaderSource(
        title=title,
        reader=reader,
        labels=labels.astype(np.int64),
        class_names=names or number_names(labels),
        has_class_names=bool(names),
    )


def _targets(reader: Any) -> list[Any]:
    if hasattr(reader, "targets"):
        return list(reader.targets)
    if hasattr(reader, "iter_targets"):
        return list(reader.iter_targets())
    return [target for _, target in reader.samples]


def _names_in_tar(reader: Any) -> tuple[str, ...]:
    names: dict[int, str] = getattr(reader, "class_idx_to_name", {})
    return tuple(str(names[number]) for number in sorted(names))
