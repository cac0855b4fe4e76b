"""ImageNet's layout, `SPLIT/CLASS/*.jpg`: which files there are. No torch, no decoding."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from spvit.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFolder:
    """Files of a split with their classes' numbers; classes are the names of the folders, sorted."""

    path: Path
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]


def scan_folder(path: Path) -> ImageFolder:
    """List a split.

    Raises:
        DataError: the folder is missing, has no class folders, or a class has no images.
    """
    if not path.is_dir():
        raise DataError(f"{path} is missing. data.format = 'folder' needs {path.name}/CLASS/*.jpg under data.path.")
    class_names = tuple(sorted(entry.name for entry in os.scandir(path) if entry.is_dir()))
    if not class_names:
        raise DataError(f"{path} must hold one folder per class, but it has none. Sort the images into class folders.")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = sorted(file for file in (path / name).rglob("*") if file.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(f"{path / name} holds no images. Add some, or remove the class from every split.")
        files += found
        labels += [label] * len(found)
    return ImageFolder(path=path, files=tuple(files), labels=tuple(labels), class_names=class_names)
