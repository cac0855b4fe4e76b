"""Data sets of torchvision by the names of their classes (`CIFAR10`), whatever they call their splits."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchvision import datasets

from spvit.errors import ConfigError, DataError
from trainers.data_config import DataConfig
from trainers.data_split import Split
from trainers.image_source import wanted_split
from trainers.library_errors import opening
from trainers.vision_source import VisionSource

# In the order in which they are tried; a data set without a validation split has a test split.
SPLIT_NAMES = {
    Split.TRAIN: ("train", "trainval", "train-standard"),
    Split.VAL: ("val", "valid", "test"),
    Split.TEST: ("test",),
}
IS_TRAIN = {"train": True, "val": False, "valid": False, "validation": False, "test": False}


def open_torchvision(config: DataConfig, split: Split) -> VisionSource:
    """Open a split of a data set.

    Raises:
        ConfigError: torchvision has no such class, or it takes no such arguments.
        DataError: the data is missing or damaged, has no such split, or has no classes.
    """
    data_class = _class_of(config.name)
    wanted = wanted_split(config, split)
    names = (wanted,) if wanted else SPLIT_NAMES[split]
    with opening(config, names[0]):
        name, dataset = _first_known(data_class, config, names)
        return VisionSource.of(dataset, f"torchvision.datasets.{config.name} ({name})")


def _first_known(data_class: Any, config: DataConfig, names: Sequence[str]) -> tuple[str, Any]:
    """The first split that the class knows: it says of a name that it does not know which ones it does."""
    for name in names[:-1]:
        try:
            return name, data_class(**_arguments(data_class, config, name))
        except (ValueError, DataError) as error:
            if isinstance(error, ValueError) and "Unknown value" not in str(error):
                raise
    return names[-1], data_class(**_arguments(data_class, config, names[-1]))


def _class_of(name: str) -> Any:
    found = getattr(datasets, name, None)
    if inspect.isclass(found) and issubclass(found, datasets.VisionDataset):
        return found
    close = difflib.get_close_matches(name, datasets.__all__, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else "Its documentation lists them."
    raise ConfigError(f"data.name was required to be a data set of torchvision.datasets, but {name!r} came. {hint}")


def _arguments(data_class: Any, config: DataConfig, name: str) -> Mapping[str, Any]:
    known = inspect.signature(data_class).parameters
    _check_known(config, known)
    arguments = dict(config.args) | {"root": str(config.path)} | ({"download": True} if config.download else {})
    if "train" in known or issubclass(data_class, datasets.MNIST):
        return arguments | {"train": _is_train(config, name)}
    if "split" in known:
        return arguments | {"split": name}
    return arguments | {"root": str(_own_folder(config, name))}


def _check_known(config: DataConfig, known: Mapping[str, Any]) -> None:
    unknown = sorted(config.args.keys() - known.keys()) if "kwargs" not in known else []
    if unknown:
        raise ConfigError(
            f"data.args was required to hold arguments of torchvision.datasets.{config.name} ({', '.join(known)}), "
            f"but holds {', '.join(unknown)}."
        )


def _is_train(config: DataConfig, name: str) -> bool:
    if name not in IS_TRAIN:
        raise ConfigError(
            f"torchvision.datasets.{config.name} has two splits, so data.train_split and data.val_split were required "
            f"to be 'train' or 'test', but {name!r} came."
        )
    return IS_TRAIN[name]


def _own_folder(config: DataConfig, name: str) -> Path:
    """The folder of a split, for classes that know no splits."""
    folder = config.path / name
    if not folder.is_dir():
        raise DataError(
            f"torchvision.datasets.{config.name} has no splits of its own, so data.path was required to hold one copy "
            f"per split, but {folder} is missing. Divide the data, or use data.format = 'folder'."
        )
    return folder
