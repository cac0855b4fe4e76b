"""What an experiment says of its images: where they are, how they are called, how they are varied. No torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from trainers.frozen_config import FrozenConfig, NonNegative, Share

PositiveShare = Annotated[float, Field(gt=0.0, le=1.0)]

ITERABLE_PREFIXES = frozenset({"hfids", "tfds", "wds"})
"""timm's sources that give images one after the other only, never by number."""


class DataFormat(StrEnum):
    """How images are stored."""

    NPZ = "npz"
    FOLDER = "folder"
    TIMM = "timm"
    TORCHVISION = "torchvision"


class Augmentation(StrEnum):
    """How training images are varied."""

    NONE = "none"
    LIGHT = "light"
    TIMM = "timm"


class Interpolation(StrEnum):
    """How images are resized. `random` draws bilinear or bicubic for each training image."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"
    RANDOM = "random"


class ErasingMode(StrEnum):
    """What an erased rectangle is filled with: zeros, one random colour, or random pixels."""

    CONST = "const"
    RAND = "rand"
    PIXEL = "pixel"


class TransformConfig(FrozenConfig):
    """What timm does to images. The defaults are DeiT's (arXiv:2012.12877, table 9).

    All of it varies training images where `data.augmentation = "timm"`; `interpolation` and `crop_pct` are also used
    to resize and crop images that are not varied, except for `npz` files, whose images have their size already.
    """

    auto_augment: str = Field(
        default="rand-m9-mstd0.5-inc1",
        description="RandAugment, AutoAugment or AugMix in timm's notation; empty for none. Colour images only.",
    )
    color_jitter: NonNegative = Field(
        default=0.4,
        description="Brightness, contrast, saturation; only where auto_augment is empty. Colour images only.",
    )
    random_erasing: Share = Field(default=0.25, description="Share of images that lose a rectangle.")
    erasing_mode: ErasingMode = Field(
        default=ErasingMode.PIXEL, description="Fills it with zeros, one random colour, or random pixels."
    )
    erasing_count: int = Field(default=1, ge=1, description="Rectangles at most in such an image.")
    interpolation: Interpolation | None = Field(default=None, description="The model's own where not given.")
    crop_pct: PositiveShare | None = Field(
        default=None, description="Share of a side that the centre crop shows in evaluation; the model's own if absent."
    )
    scale: tuple[float, float] = Field(
        default=(0.08, 1.0), description="Least and greatest share of the area in a random crop."
    )
    ratio: tuple[float, float] = Field(
        default=(0.75, 1.3333), description="Least and greatest width over height of a random crop."
    )
    hflip: Share = Field(default=0.5, description="Share of images that are mirrored.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for key in ("scale", "ratio"):
            low, high = getattr(self, key)
            if not 0 < low <= high:
                raise ValueError(f"{key} must be two numbers above 0, the lesser first, but is [{low}, {high}]")
        if self.scale[1] > 1:
            raise ValueError(f"scale must not exceed 1, the whole image, but is {list(self.scale)}")
        return self


class DataConfig(FrozenConfig):
    """Images and labels for training and validation.

    `npz`: one file `{train,val,test}.npz` per split with `images` (uint8, N x H x W [x C]) and `labels`.
    `folder`: ImageNet's layout, `train/CLASS/*.jpg` and `val/CLASS/*.jpg`; with `val_share` `CLASS/*.jpg` alone.
    `timm`: what `timm.data.create_dataset` finds in the folder under `name`.
    `torchvision`: what the class `name` of `torchvision.datasets` finds in the folder.
    """

    format: DataFormat = Field(
        default=DataFormat.FOLDER,
        description="Files `{train,val}.npz`, folders `{train,val}/CLASS`, or a library's own data sets.",
    )
    path: Path = Field(description="Folder that holds the splits, or the library's data.")
    name: str = Field(
        default="",
        description="The data set's name in its library: `CIFAR10`, `Flowers102` (torchvision); `torch/cifar100`, "
        "`hfds/food101`, or empty for folders and tar files (timm).",
    )
    args: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        description="Further arguments of the data set in its library (`split`, `input_key`, ...).",
    )
    train_split: str | None = Field(
        default=None, description="Name of the training split; `train` or what the library calls it where not given."
    )
    val_split: str | None = Field(
        default=None,
        description="Name of the validation split; where not given `val` or what the library calls it, "
        "else its test split.",
    )
    val_share: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None,
        description="Share of each class that is set aside for validation where images are in no splits yet, the same "
        "in every trial; of folders only, which may then hold `CLASS` themselves.",
    )
    download: bool = Field(default=False, description="Let the library download what is missing into the folder.")
    augmentation: Augmentation = Field(
        default=Augmentation.TIMM,
        description="Training images: `light` mirrors and shifts them, `timm` does what data.transforms says.",
    )
    transforms: TransformConfig = TransformConfig()
    repeated_augmentation: int = Field(
        default=0,
        ge=0,
        description="Times that an image is shown in an epoch, varied anew each time (DeiT: 3); an epoch keeps its "
        "length, so it shows that many times fewer images. 0 and 1 are without.",
    )
    num_workers: int = Field(default=0, ge=0, description="Processes that load images; 0 loads in the trial itself.")
    max_damaged: int = Field(default=10, ge=0, description="Damaged images skipped, by name, before giving up.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in (self._name_problem(), self._repeat_problem(), self._share_problem()):
            if problem:
                raise ValueError(problem)
        return self

    def _name_problem(self) -> str:
        prefix = self.name.partition("/")[0].lower()
        if self.format is DataFormat.TORCHVISION and not self.name:
            return "`data.name` is required where data.format = 'torchvision': a class of torchvision.datasets"
        if self.format in {DataFormat.NPZ, DataFormat.FOLDER} and (self.name or self.args or self.download):
            return f"name, args and download are for data.format = 'timm' or 'torchvision', but it is '{self.format}'"
        if self.format is DataFormat.TIMM and prefix in ITERABLE_PREFIXES:
            return (
                f"`data.name` = {self.name!r} is a stream, but epochs are shuffled by seed, so every image must be "
                "reachable by its number. Use `hfds/...`, or write the images to folders (data.format = 'folder')"
            )
        return ""

    def _share_problem(self) -> str:
        if self.val_share is not None and (self.format is not DataFormat.FOLDER or self.val_split):
            return "val_share is for data.format = 'folder' without val_split: other data come in splits"
        return ""

    def _repeat_problem(self) -> str:
        if self.repeated_augmentation > 1 and self.augmentation is Augmentation.NONE:
            return "repeated_augmentation shows images several times, so augmentation must be 'timm' or 'light'"
        return ""
