"""Where single images come from, whatever keeps them: by number, with a name to tell them by. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from spvit.errors import DataError
from trainers.data_config import DataConfig, DataFormat
from trainers.data_split import Split
from trainers.sampling import Numbers

if TYPE_CHECKING:
    from PIL import Image


class ImageSource(Protocol):
    """Images of one split by number. Picklable, because worker processes read from it."""

    @property
    def labels(self) -> Numbers:
        """The class of every image, (N,), known without reading images."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by number; the numbers themselves where they have no names."""
        ...

    @property
    def has_class_names(self) -> bool:
        """Whether classes have names that say more than their numbers."""
        ...

    def name(self, number: int) -> str:
        """What to call an image in a message: its file, or its number."""
        ...

    def load(self, number: int) -> Image.Image:
        """Read an image.

        Raises:
            OSError, SyntaxError, ValueError, EOFError: it is damaged; pillow raises any of them.
        """
        ...


def open_source(config: DataConfig, split: Split) -> ImageSource:
    """The images of a split.

    Raises:
        ConfigError: the library has no data set of this name, or it cannot be used for training.
        DataError: the split is missing, empty or unreadable.
    """
    try:
        source = _open(config, split)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{error.filename or config.path} cannot be read: {reason}. Check its permissions.") from error
    if not len(source.labels):
        raise DataError(f"The {split} split in {config.path} holds no images. Add some.")
    return source


def _open(config: DataConfig, split: Split) -> ImageSource:
    match config.format:
        case DataFormat.NPZ:
            from trainers.npz_source import NpzSource

            return NpzSource.open(config.path / f"{split_name(config, split)}.npz")
        case DataFormat.FOLDER:
            from trainers.hold_out import open_folder

            return open_folder(config, split, split_name(config, split))
        case DataFormat.TIMM:
            from trainers.timm_data import open_timm

            return open_timm(config, split)
        case DataFormat.TORCHVISION:
            from trainers.torchvision_data import open_torchvision

            return open_torchvision(config, split)


def split_name(config: DataConfig, split: Split) -> str:
    """What the split's file or folder is called."""
    return wanted_split(config, split) or str(split)


def wanted_split(config: DataConfig, split: Split) -> str | None:
    """The name that the configuration gives to the split, if any."""
    return {Split.TRAIN: config.train_split, Split.VAL: config.val_split}.get(split)
