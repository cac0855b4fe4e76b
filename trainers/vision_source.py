"""Images from a torchvision dataset, and their labels without decoding any image where it keeps a list of them."""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image

from spvit.errors import DataError
from trainers.npz_file import number_names
from trainers.sampling import Numbers

log = logging.getLogger(__name__)

# Where torchvision's classes keep labels, and where (file, label) pairs; there is no common interface.
LABEL_LISTS = ("targets", "_labels", "labels", "y")
PAIR_LISTS = ("samples", "_samples", "imgs")
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionSource:
    """See `trainers.image_source.ImageSource`."""

    title: str
    dataset: Any
    labels: Numbers
    class_names: tuple[str, ...]
    has_class_names: bool

    @classmethod
    def of(cls, dataset: Any, title: str) -> Self:
        """Look at a dataset of (image, class number) pairs.

        Raises:
            DataError: it is empty or its targets are no class numbers.
        """
        if not len(dataset):
            raise DataError(f"{title} holds no images.")
        labels = _labels_of(dataset, title)
        names = class_names_of(dataset, labels)
        return cls(
            title=title,
            dataset=dataset,
            labels=labels,
            class_names=names or number_names(labels),
            has_class_names=bool(names),
        )

    def name(self, number: int) -> str:
        """The image's file where the dataset says it, else its number."""
        pairs = _lists(self.dataset, PAIR_LISTS)
        return str(pairs[0][number][0]) if pairs else f"{self.title}[{number}]"

    def load(self, number: int) -> Image.Image:
        """Decode an image.

        Raises:
            DataError: the dataset gives something else.
        """
        image = self.dataset[number][0]
        if not isinstance(image, Image.Image):
            raise DataError(f"{self.title} gives {type(image).__name__} where pictures (PIL) were required.")
        return image


def class_names_of(dataset: Any, labels: Numbers) -> tuple[str, ...]:
    """Names of the classes by number, from `class_to_idx` or `classes`; empty where neither covers every label."""
    by_number: dict[int, str] = {}
    for name, number in (getattr(dataset, "class_to_idx", None) or {}).items():
        by_number.setdefault(int(number), _text(name))
    if sorted(by_number) == list(range(len(by_number))) and len(by_number) > labels.max():
        return tuple(by_number[number] for number in range(len(by_number)))
    classes = getattr(dataset, "classes", None) or ()
    return tuple(_text(name) for name in classes) if len(classes) > labels.max() else ()


def _text(name: Any) -> str:
    return name if isinstance(name, str) else ", ".join(name) if isinstance(name, Iterable) else str(name)


def _labels_of(dataset: Any, title: str) -> Numbers:
    for kept in (*_lists(dataset, LABEL_LISTS), *_second_of(dataset)):
        labels = np.asarray(kept)
        if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and _agrees(dataset, labels, title):
            return _checked(labels.astype(np.int64), title)
    log.warning("%s keeps no list of labels: every image is read once to learn its label.", title)
    return _checked(np.array([_label(dataset[n][1], title) for n in range(len(dataset))], dtype=np.int64), title)


def _lists(dataset: Any, names: Sequence[str]) -> list[Any]:
    found = (getattr(dataset, name, None) for name in names)
    return [values for values in found if values is not None and len(values) == len(dataset)]


def _second_of(dataset: Any) -> list[list[Any]]:
    lists = _lists(dataset, PAIR_LISTS)
    return [[pair[1] for pair in pairs] for pairs in lists if isinstance(pairs[0], Sequence) and len(pairs[0]) == 2]


def _agrees(dataset: Any, labels: Numbers, title: str) -> bool:
    """Whether a list says what the dataset gives: its arguments may have chosen another kind of target."""
    for number in {0, len(labels) // 2, len(labels) - 1}:
        try:
            target = dataset[number][1]
        except UNREADABLE:  # a damaged image, which is counted when it is used
            continue
        if _label(target, title) != labels[number]:
            return False
    return True


def _label(target: Any, title: str) -> int:
    try:
        return operator.index(target)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{title} was required to give one class number per image, but it gives {type(target).__name__}. "
            "Use a data set for classification, or choose its kind of target in data.args."
        ) from error


def _checked(labels: Numbers, title: str) -> Numbers:
    if labels.min() < 0:
        raise DataError(f"{title} has images without a class (label {labels.min()}). Choose a split that has labels.")
    return labels
