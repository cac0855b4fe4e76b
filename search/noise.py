"""How far a top-1 on so many images can be trusted, and a difference of two. Pure.

A top-1 is a share of the validation images, and other images of the same kind would give another one. Intervals hold
90 % of the time, as those of latencies do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.90
_Z = 1.6448536269514722  # half width of a 90 % interval in standard deviations


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A difference of two top-1s in percentage points, the first less the second, with its 90 % interval.

    `is_paired` says that both models' answers to each image were compared. Without them the images are taken for two
    independent draws, which is too wide for models that mostly agree.
    """

    points: float
    low: float
    high: float
    num_images: int
    is_paired: bool

    def __post_init__(self) -> None:
        if not self.low <= self.points <= self.high:
            raise ValueError(f"A difference needs low <= points <= high, but got {self}.")

    @property
    def is_noise(self) -> bool:
        """Whether the images cannot tell the two apart."""
        return self.low <= 0.0 <= self.high

    @property
    def blur(self) -> float:
        """Half the width of the interval: what the images can hide, in points."""
        return (self.high - self.low) / 2

    def to_text(self) -> str:
        """Such as `+0.40 points (-0.52 to 1.31 on 2000 images)`."""
        return f"{self.points:+.2f} points ({self.low:+.2f} to {self.high:+.2f} on {self.num_images} images)"


def top1_interval(top1: float, num_images: int) -> tuple[float, float]:
    """The 90 % interval of a top-1 in percent (Wilson 1927).

    Raises:
        ValueError: no images, or a top-1 that is no percentage.
    """
    if num_images < 1 or not 0.0 <= top1 <= 100.0:
        raise ValueError(f"A top-1 of 0 to 100 % on one image or more is needed, but got {top1} % on {num_images}.")
    share, per_image = top1 / 100.0, _Z**2 / num_images
    centre = (share + per_image / 2) / (1 + per_image)
    half = math.sqrt(per_image * share * (1 - share) + per_image**2 / 4) / (1 + per_image)
    return min(100.0 * max(0.0, centre - half), top1), max(100.0 * min(1.0, centre + half), top1)


def unpaired_difference(first: float, second: float, num_images: int) -> Difference:
    """Of two top-1s (percent) on so many images, where only the top-1s are known (Newcombe 1998, method 10).

    Raises:
        ValueError: no images, or a top-1 that is no percentage.
    """
    (low_1, high_1), (low_2, high_2) = top1_interval(first, num_images), top1_interval(second, num_images)
    points = first - second
    return Difference(
        points=points,
        low=points - math.hypot(first - low_1, high_2 - second),
        high=points + math.hypot(high_1 - first, second - low_2),
        num_images=num_images,
        is_paired=False,
    )


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    """Of two models whose answers to the same images are known (Agresti and Min 2005: a half added to each count).

    Args:
        first: which images, shape (N,), the first model got right.
        second: the same of the second.

    Raises:
        ValueError: not the same images, or none.
    """
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"Answers to the same images are needed, but their shapes are {first.shape}, {second.shape}.")
    num = len(first)
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    shift = (gained - lost) / (num + 2)
    half = _Z * math.sqrt((gained + lost + 1) / (num + 2) - shift**2) / math.sqrt(num + 2)
    points = 100.0 * (gained - lost) / num
    low, high = 100.0 * (shift - half), 100.0 * (shift + half)
    return Difference(points=points, low=min(low, points), high=max(high, points), num_images=num, is_paired=True)
